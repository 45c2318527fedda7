"""Stop recording the calls that a person is on, the moment they withdraw their consent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from commands.calls.deciding import CALLS
from commands.calls.orders import OrderRecordingStop
from events.calls.recording import RecordingStarted, RecordingStopped
from events.consents import ConsentRevoked, Purpose
from events.recorded import Recorded
from events.streams import StreamId
from stream_processors.manager import Cause, Due, ProcessManager

Watched: TypeAlias = ConsentRevoked | RecordingStarted | RecordingStopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """The last one; `version` is that of the person's consents stream."""

    version: int
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingAndConsent:
    """One caller of a business: the calls that record them, each with the consent it rests on, and what they withdrew.

    A withdrawal is kept for good: topics have no common order, so a recording that rests on the old consent may be seen later.
    """

    recording: Mapping[StreamId, int] = field(default_factory=dict)
    withdrawn: Withdrawal | None = None


def key(recorded: Recorded[Watched]) -> str | None:
    """The caller, by business and keyed hash."""
    match recorded.fact:
        case ConsentRevoked(purpose=Purpose.RECORDING):
            return f"{recorded.stream.tenant}/{recorded.stream.id}"
        case ConsentRevoked():
            return None
        case RecordingStarted(caller_ref=caller_ref) | RecordingStopped(caller_ref=caller_ref):
            return f"{recorded.stream.tenant}/{caller_ref}"
        case _:
            assert_never(recorded.fact)


def evolve(state: RecordingAndConsent, recorded: Recorded[Watched]) -> RecordingAndConsent:
    match recorded.fact:
        case ConsentRevoked():
            return replace(state, withdrawn=Withdrawal(version=recorded.version, cause=Cause.of(recorded)))
        case RecordingStarted(consent_version=version):
            return replace(state, recording={**state.recording, recorded.stream: version})
        case RecordingStopped():
            return replace(state, recording={call: version for call, version in state.recording.items() if call != recorded.stream})
        case _:
            assert_never(recorded.fact)


def react(state: RecordingAndConsent) -> Sequence[Due]:
    """An order to every call that records on a consent older than the withdrawal, until it says that it stopped."""
    withdrawn = state.withdrawn
    if withdrawn is None:
        return ()
    order = OrderRecordingStop(reason="consent-revoked", revoked_version=withdrawn.version)
    return [
        Due(decider=CALLS, stream=call, command=order, kind="order-recording-stop", cause=withdrawn.cause)
        for call, rests_on in sorted(state.recording.items(), key=lambda entry: str(entry[0]))
        if rests_on < withdrawn.version
    ]


HALT_RECORDINGS = ProcessManager(
    name="halt-recordings",
    rooms=("calls", "consents"),
    facts=frozenset({ConsentRevoked, RecordingStarted, RecordingStopped}),
    initial=RecordingAndConsent(),
    key=key,
    evolve=evolve,
    react=react,
)
