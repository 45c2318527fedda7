"""A call may last so long and cost so much: the caller is told before the time is up, and hears why the call ends."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_CEILING
from typing import Final

from commands.calls.orders import Witness, Witnessed
from commands.rates import RateTable
from events.calls.ending import EndedBy
from events.calls.talking import AgentTurn, Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated
from events.usage import Meter
from realtime.machine import closing
from realtime.machine.effects import Note, SetTimer
from realtime.machine.signals import Timer
from realtime.machine.state import Ending, Moment
from realtime.speaking import replying

_TIME_LIMIT: Final = Ending(reason="time-limit", ended_by=EndedBy.PLATFORM, billable=True, firm=True)
_COST_LIMIT: Final = Ending(reason="cost-limit", ended_by=EndedBy.PLATFORM, billable=True, firm=True)
_WARNED_MS: Final = 30_000
_NANO: Final = 10**9
_NANO_PER_CENT: Final = 10**7
_CARRIER: Final = "twilio"
_SECOND, _CHARACTER = "second", "character"
_TOKENS: Final = {
    "input_tokens": Meter.MODEL_INPUT_TOKENS, "output_tokens": Meter.MODEL_OUTPUT_TOKENS,
    "cache_read_tokens": Meter.MODEL_CACHE_READ_TOKENS, "cache_write_tokens": Meter.MODEL_CACHE_WRITE_TOKENS,
}  # fmt: skip


def prices(table: RateTable | None, *, recogniser: str, provider: str, voice: str, models: Iterable[str]) -> Mapping[str, int]:
    """What a second, a character and each model's tokens cost by the list, in billionths of its currency, rounded up.

    What the list does not have costs nothing here: the cap is then higher than it seems, and the bill says what was unrated.
    """
    if table is None:
        return {}

    def price(name: str, meter: Meter) -> int:
        found = table.prices.get((name, meter))
        return 0 if found is None else int((found.unit_price * _NANO).to_integral_value(ROUND_CEILING))

    tokens = {f"{model}/{field}": price(f"{provider}/{model}", meter) for model in models for field, meter in _TOKENS.items()}
    second = price(_CARRIER, Meter.TELEPHONY_SECONDS) + price(recogniser, Meter.RECOGNITION_SECONDS)
    return {_SECOND: second, _CHARACTER: price(voice, Meter.SYNTHESIS_CHARACTERS), **tokens}


def cost(listed: Mapping[str, int], spent: Spent) -> int:
    """Of one answer, in billionths."""
    tokens = sum(listed.get(f"{spent.model}/{field}", 0) * int(getattr(spent, field)) for field in _TOKENS)
    return tokens + listed.get(_CHARACTER, 0) * spent.characters


def begin(moment: Moment) -> None:
    """The clock of the call's length runs, to the warning first where there is time for one."""
    moment.do(SetTimer(timer=Timer.LENGTH, at_ms=moment.at_ms + _warned_ms(moment)))


def go_on(moment: Moment, spent: Iterable[Spent], *, warned: bool) -> bool:
    """The clock runs on since the first answer, and the money is spent; returns whether a warning is due that nobody has heard."""
    briefing, warned_ms = moment.state.briefing, _warned_ms(moment)
    longest_ms = briefing.thresholds.max_call_ms
    moment.change(cost=sum(cost(briefing.prices, each) for each in spent))
    moment.do(SetTimer(timer=Timer.LENGTH, at_ms=warned_ms if moment.at_ms < warned_ms else max(moment.at_ms, longest_ms)))
    return warned_ms <= moment.at_ms < longest_ms and not warned


def _warned_ms(moment: Moment) -> int:
    longest_ms = moment.state.briefing.thresholds.max_call_ms
    return longest_ms - _WARNED_MS if longest_ms > 2 * _WARNED_MS else longest_ms


def length_due(moment: Moment) -> None:
    """Half a minute is left, or nothing."""
    state = moment.state
    words, longest_ms = state.briefing.wording, state.briefing.thresholds.max_call_ms
    if moment.at_ms >= longest_ms:
        closing.say_and_end(moment, words.time_is_up, _TIME_LIMIT)
        return
    moment.do(SetTimer(timer=Timer.LENGTH, at_ms=longest_ms))
    # Nobody is interrupted for a warning.
    if state.reply is None and not state.floor.open and state.capture is None:
        replying.begin(moment)
        replying.say(moment, words.time_almost_up)
        replying.settle(moment)


def look(moment: Moment) -> None:
    """After each step: what has just become a fact costs, by the list, and the time until here. A call ends with an answer of its own."""
    state = moment.state
    most_cents, listed = state.briefing.thresholds.max_cost_cents, state.briefing.prices
    if not most_cents or not listed:
        return
    noted = [effect.command.fact for effect in moment.effects if isinstance(effect, Note) and isinstance(effect.command, Witness)]
    spent = state.cost + sum(_costs(listed, noted))
    moment.change(cost=spent)
    if not any(isinstance(fact, AgentTurn) for fact in noted):
        return
    ends = state.ended is not None or (state.reply is not None and state.reply.ending is not None)
    if not ends and spent + listed[_SECOND] * (moment.at_ms // 1000) >= most_cents * _NANO_PER_CENT:
        closing.say_and_end(moment, state.briefing.wording.cost_is_up, _COST_LIMIT)


def _costs(listed: Mapping[str, int], facts: Iterable[Witnessed]) -> Iterator[int]:
    for fact in facts:
        match fact:
            case AgentTurn(spent=spent) | AnswerSpeculated(spent=spent):
                yield cost(listed, spent)
            case AnswerAccounted(estimate=estimate, spent=spent):
                yield cost(listed, spent) - cost(listed, estimate)
            case _:
                pass
