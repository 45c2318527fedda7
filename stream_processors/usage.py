"""Record what a call used, once it has ended, line by line, at the prices of its day."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeAlias, assert_never

from commands.rates import NoRateTable, RateTable, in_force
from commands.usage import USAGE, RecordUsage
from events.calls.ending import CallEnded
from events.calls.ringing import CallAnswered
from events.calls.talking import AgentTurn, Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated
from events.recorded import Recorded
from events.streams import StreamId
from events.usage import Meter, UsageLine, UsageRecorded
from stream_processors.manager import Cause, Due, ProcessManager

CARRIER = "twilio"
SPECULATION = "speculation"
Spending: TypeAlias = CallAnswered | AgentTurn | AnswerSpeculated | AnswerAccounted | CallEnded | UsageRecorded
_TOKENS = (
    (Meter.MODEL_INPUT_TOKENS, "input_tokens"),
    (Meter.MODEL_OUTPUT_TOKENS, "output_tokens"),
    (Meter.MODEL_CACHE_READ_TOKENS, "cache_read_tokens"),
    (Meter.MODEL_CACHE_WRITE_TOKENS, "cache_write_tokens"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The call's stream and what its end says, in ms."""

    stream: StreamId
    duration_ms: int
    recognition_ms: int
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What is known of a call's use so far: its engines, what each answer spent, its end, and whether it was recorded already.

    `ahead` is what was spent on answers that were thought ahead and dropped.
    """

    engines: CallAnswered | None = None
    spent: tuple[tuple[int, Spent], ...] = ()
    ahead: tuple[tuple[int, Spent], ...] = ()
    end: End | None = None
    recorded: bool = False


NOTHING = Used()


def key(recorded: Recorded[Spending]) -> str:
    """The call: its usage has a stream of the same tenant and id."""
    return f"{recorded.stream.tenant}/{recorded.stream.id}"


def evolve(state: Used, recorded: Recorded[Spending]) -> Used:
    """Forgets the call once its end and its usage were both seen, whichever came first."""
    match recorded.fact:
        case CallAnswered() as engines:
            state = replace(state, engines=engines)
        case AgentTurn(turn=turn, spent=spent):
            state = replace(state, spent=(*state.spent, (turn, spent)))
        case AnswerSpeculated(turn=turn, spent=spent):
            state = replace(state, ahead=(*state.ahead, (turn, spent)))
        case AnswerAccounted(turn=turn, estimate=estimate, spent=spent):
            state = replace(state, spent=_instead(state.spent, (turn, estimate), (turn, spent)))
        case CallEnded(duration_ms=duration_ms, recognition_ms=recognition_ms):
            end = End(stream=recorded.stream, duration_ms=duration_ms, recognition_ms=recognition_ms, cause=Cause.of(recorded))
            # A call that nobody answered used nothing.
            state = NOTHING if state.engines is None and not state.recorded else replace(state, end=end)
        case UsageRecorded():
            state = replace(state, recorded=True)
        case _:
            assert_never(recorded.fact)
    return NOTHING if state.recorded and state.end is not None else state


def _instead(
    spent: tuple[tuple[int, Spent], ...], estimate: tuple[int, Spent], counted: tuple[int, Spent]
) -> tuple[tuple[int, Spent], ...]:
    # Without the turn that it belongs to, a count corrects nothing: what was told late is not billed.
    if estimate not in spent:
        return spent
    at = spent.index(estimate)
    return (*spent[:at], counted, *spent[at + 1 :])


def lines_of(engines: CallAnswered, used: Used, end: End) -> tuple[UsageLine, ...]:
    """What a call used, summed per turn, meter, provider and purpose. Turn 0 is the call itself and its greeting.

    Seconds of the whole call are counted, a second that has begun as a whole one; the carrier's and the recogniser's alike.
    """
    sums: defaultdict[tuple[int, Meter, str, str], int] = defaultdict(int)
    estimated: set[tuple[int, Meter, str, str]] = set()

    def add(turn: int, meter: Meter, provider: str, quantity: int, *, purpose: str = "", is_estimate: bool = False) -> None:
        if quantity:
            sums[turn, meter, provider, purpose] += quantity
            if is_estimate:
                estimated.add((turn, meter, provider, purpose))

    add(0, Meter.TELEPHONY_SECONDS, CARRIER, begun_seconds(end.duration_ms))
    add(0, Meter.RECOGNITION_SECONDS, engines.recogniser, begun_seconds(end.recognition_ms))
    for purpose, answers in (("", used.spent), (SPECULATION, used.ahead)):
        for turn, each in answers:
            for meter, name in _TOKENS:
                provider = f"{engines.model_provider}/{each.model}"
                add(turn, meter, provider, getattr(each, name), purpose=purpose, is_estimate=each.estimated)
            here = each.characters - sum(each.elsewhere.values())
            for voice, characters in ((engines.voice, here), *each.elsewhere.items()):
                add(turn, Meter.SYNTHESIS_CHARACTERS, voice, characters, purpose=purpose)
    return tuple(
        UsageLine(
            turn=turn, meter=meter, provider=provider, quantity=Decimal(quantity),
            # The carrier is never ours: what is embedded are the engines.
            embedded=engines.embedded and meter is not Meter.TELEPHONY_SECONDS,
            estimated=(turn, meter, provider, purpose) in estimated, purpose=purpose,
        )
        for (turn, meter, provider, purpose), quantity in sorted(sums.items())
    )  # fmt: skip


def begun_seconds(ms: int) -> int:
    """Seconds, the last one counted whole."""
    return -(-ms // 1000)


def record_usage(tables: Sequence[RateTable]) -> ProcessManager[Used]:
    """The manager, with the price tables there are. A call of a day without one is recorded unrated, for all its lines lack a price."""

    def react(state: Used) -> Sequence[Due]:
        if state.end is None or state.engines is None or state.recorded:
            return ()
        stream = StreamId(state.end.stream.tenant, USAGE.category, state.end.stream.id)
        lines = lines_of(state.engines, state, state.end)
        try:
            table = in_force(tables, state.end.cause.occurred_at.date())
            currency, name, prices = table.currency, table.name, table.prices
        except NoRateTable:
            currency, name, prices = "", "none", {}
        command = RecordUsage(call_id=stream.id, lines=lines, currency=currency, rate_table=name, prices=prices)
        return [Due(decider=USAGE, stream=stream, command=command, kind="record-usage", cause=state.end.cause)]

    return ProcessManager(
        name="record-usage",
        rooms=("calls", "usage"),
        facts=frozenset({CallAnswered, AgentTurn, AnswerSpeculated, AnswerAccounted, CallEnded, UsageRecorded}),
        initial=NOTHING,
        key=key,
        evolve=evolve,
        react=react,
    )
