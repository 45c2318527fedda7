"""Everything that there is to tell about one call, gathered from the read models and opened for who may read it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from commands.rates import Verified
from events.consents import ConsentGranted, ConsentRevoked
from events.recorded import Recorded
from events.registry import Fact
from events.sealing import KeyErased, KeyRing, Sealed
from events.streams import StreamId
from events.usage import RatedLine
from infra.adapters.rate_tables import read_rate_tables
from projections.agents import AGENTS
from projections.calls import CALL_TIMELINE, CALLS, Call, TimelineEntry
from projections.flags import FLAGS
from projections.queries import JournalRows, Rows
from projections.usage import CALL_USAGE, CallUsage

ERASED = "(erased)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An entry of the timeline with its sealed words in clear."""

    entry: TimelineEntry
    words: str | None
    heard: str | None
    filler: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentWord:
    """What the caller said about a permission, and where the log has it. `rests_on_it`: the recording does."""

    purpose: str
    granted: bool
    at: datetime
    evidence: str
    version: int
    position: str
    expires_at: datetime | None
    rests_on_it: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagAtCall:
    """A flag as the call recorded it, and what it is for now; empty where it is gone."""

    name: str
    variant: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStory:
    """One call, whole. `spoken`: what a caller of ours really said, by turn, where somebody knows it beside the log."""

    call: Call
    caller: str
    number: str
    agent_name: str
    happenings: Sequence[Happening]
    consents: Sequence[ConsentWord]
    usage: CallUsage | None
    flags: Sequence[FlagAtCall]
    spoken: Mapping[int, str] = field(default_factory=dict)
    verified: Verified = field(default_factory=Verified)

    def cost_of(self, turn: int) -> Decimal | None:
        """What a turn's model and voice cost; None where nothing of it was rated."""
        rated = self._rated(turn)
        return sum((line.amount for line in rated), Decimal(0)) if rated else None

    def is_estimate(self, turn: int | None = None) -> bool:
        """Whether a price of the whole call, or of a turn, is one that nobody read at its source."""
        return not all(self.verified.rate(line.rate) for line in self._rated(turn))

    def _rated(self, turn: int | None) -> Sequence[RatedLine]:
        rated = () if self.usage is None else self.usage.rated
        return [line for line in rated if turn is None or (line.turn == turn and not line.meter.value.endswith("-seconds"))]


async def gather_story(
    rows: Rows, journal: JournalRows, keyring: KeyRing, organisation_id: str, call_id: str, spoken: Mapping[int, str] | None = None
) -> CallStory | None:
    """None where the organisation has no such call. Raises RowsUnavailable."""
    call = await rows.get(CALLS, organisation_id, call_id)
    if call is None:
        return None
    agent = await rows.get(AGENTS, organisation_id, call.agent_id)
    entries = await rows.entries(CALL_TIMELINE, organisation_id, call_id)
    said = await journal.stream_events(StreamId(organisation_id, "consents", call.caller_ref))
    return CallStory(
        call=call,
        caller=in_clear(keyring, call.caller),
        number=in_clear(keyring, call.number),
        agent_name=agent.name if agent else call.agent_id,
        happenings=[_happening(keyring, entry) for entry in entries],
        consents=[word for each in said if (word := _consent(call, each)) is not None],
        usage=await rows.get(CALL_USAGE, organisation_id, call_id),
        flags=[await _flag(rows, organisation_id, name, variant) for name, variant in sorted(call.flags.items())],
        spoken=spoken or {},
        verified=Verified(read_rate_tables()),
    )


def in_clear(keyring: KeyRing, sealed: Sealed[str]) -> str:
    """The value, or the mark of an erased person."""
    try:
        return keyring.open(sealed)
    except KeyErased:
        return ERASED


def story_data(story: CallStory) -> dict[str, Any]:
    """The story for programs: plain JSON values, sealed fields opened."""
    opened = {"caller": story.caller, "number": story.number}
    usage = story.usage
    return {
        "call": {**_plain(story.call), **opened, "agent_name": story.agent_name},
        "timeline": [{**_plain(each.entry), "words": each.words, "heard": each.heard, "filler": each.filler} for each in story.happenings],
        "spoken": {str(turn): words for turn, words in story.spoken.items()},
        "consents": [_plain(word) for word in story.consents],
        "flags": [_plain(flag) for flag in story.flags],
        "usage": None if usage is None else {**_plain(usage), "prices_verified": not story.is_estimate()},
        "costs": {
            str(turn): str(cost)
            for turn in sorted({each.entry.turn for each in story.happenings if each.entry.turn is not None})
            if (cost := story.cost_of(turn)) is not None
        },
    }


def _happening(keyring: KeyRing, entry: TimelineEntry) -> Happening:
    words, heard, filler = (None if each is None else in_clear(keyring, each) for each in (entry.words, entry.heard, entry.filler))
    return Happening(entry=entry, words=words, heard=heard, filler=filler)


def _consent(call: Call, recorded: Recorded[Fact]) -> ConsentWord | None:
    fact = recorded.fact
    if not isinstance(fact, ConsentGranted | ConsentRevoked):
        return None
    rests_on_it = recorded.version == call.consent_version
    during = call.received_at <= recorded.occurred_at and (call.ended_at is None or recorded.occurred_at <= call.ended_at)
    if not (during or rests_on_it or call.id in fact.evidence):
        return None
    return ConsentWord(
        purpose=fact.purpose.value, granted=isinstance(fact, ConsentGranted), at=recorded.occurred_at, evidence=fact.evidence,
        version=recorded.version, position=str(recorded.position), rests_on_it=rests_on_it,
        expires_at=fact.expires_at if isinstance(fact, ConsentGranted) else None,
    )  # fmt: skip


async def _flag(rows: Rows, organisation_id: str, name: str, variant: str) -> FlagAtCall:
    row = await rows.get(FLAGS, organisation_id, name)
    return FlagAtCall(name=name, variant=variant, description=row.description if row else "")


def plain(value: Any, open_sealed: Callable[[Sealed[str]], str | None]) -> Any:
    """A value of a fact or a row as JSON has it."""
    match value:
        case Sealed():
            return open_sealed(value)
        case Enum():
            return value.value
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Mapping():
            return {key: plain(inner, open_sealed) for key, inner in value.items()}
        case tuple() | list():
            return [plain(inner, open_sealed) for inner in value]
        case _ if is_dataclass(value):
            return {each.name: plain(getattr(value, each.name), open_sealed) for each in fields(value)}
        case _:
            return value


def _plain(value: Any) -> Any:
    # What is sealed is in the story in clear, beside the row.
    return plain(value, lambda _: None)
