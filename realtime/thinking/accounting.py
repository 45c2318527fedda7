"""What answers cost, to the token where the provider says so: also those that were cut, read on for their account within a bound."""

from dataclasses import replace

from events.calls.talking import Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated
from realtime.machine.effects import CancelModel, CancelTimer, SetTimer
from realtime.machine.signals import EngineBroke, ModelDone, Timer
from realtime.machine.state import Moment
from realtime.ports import TokenUsage
from realtime.thinking import conversation
from realtime.thinking.drafts import Drain, Dropped


def added(spent: Spent, usage: TokenUsage) -> Spent:
    """With what one more question used."""
    return replace(
        spent, input_tokens=spent.input_tokens + usage.input_tokens, output_tokens=spent.output_tokens + usage.output_tokens,
        cache_read_tokens=spent.cache_read_tokens + usage.cache_read_tokens,
        cache_write_tokens=spent.cache_write_tokens + usage.cache_write_tokens, estimated=spent.estimated or usage.estimated,
    )  # fmt: skip


def estimated(spent: Spent, asked_characters: int, answered_characters: int) -> Spent:
    """With what a question cost whose account has not come."""
    usage = TokenUsage(
        input_tokens=conversation.estimated_tokens(asked_characters), output_tokens=conversation.estimated_tokens(answered_characters),
        estimated=True,
    )  # fmt: skip
    return added(spent, usage)


def speculated(dropped: Dropped, spent: Spent) -> AnswerSpeculated:
    return AnswerSpeculated(
        turn=dropped.turn, attempt=dropped.attempt, outcome=dropped.outcome, words=dropped.words, asked_ms=dropped.asked_ms,
        settled_ms=dropped.settled_ms, spent=spent,
    )  # fmt: skip


def drain(moment: Moment, what: Drain) -> None:
    """Read an unwanted answer on for its account, as long as the agent's version allows; not at all where it allows nothing."""
    within_ms = moment.state.briefing.thresholds.drain_ms
    moment.change(drains=(*moment.state.drains, what))
    if within_ms:
        moment.do(SetTimer(timer=Timer.DRAIN, at_ms=moment.at_ms + within_ms, of=str(what.asked)))
    else:
        _give_up(moment, what)


def done(moment: Moment, signal: ModelDone) -> bool:
    """The account of an answer that nobody wanted has come; returns whether it was one."""
    what = _found(moment, signal.asked)
    if what is None:
        return False
    moment.do(CancelTimer(timer=Timer.DRAIN, of=str(what.asked)))
    _forget(moment, what)
    spent = added(what.before, signal.usage)
    if what.dropped is not None:
        moment.note(speculated(what.dropped, spent))
    else:
        moment.note(AnswerAccounted(turn=what.turn, at_ms=moment.at_ms, estimate=what.estimate, spent=spent))
    return True


def broke(moment: Moment, signal: EngineBroke) -> bool:
    """It never will come; returns whether it was one that is read on."""
    what = _found(moment, signal.asked)
    if what is None:
        return False
    moment.do(CancelTimer(timer=Timer.DRAIN, of=str(what.asked)))
    _forget(moment, what)
    # What is refused before its first word costs nothing.
    _stand(moment, what if what.begun else replace(what, estimate=what.before))
    return True


def overdue(moment: Moment, of: str) -> None:
    """The answer takes too long: its estimate stands."""
    if of.isascii() and of.isdigit() and (what := _found(moment, int(of))) is not None:
        _give_up(moment, what)


def give_up(moment: Moment) -> None:
    """The call ends: nothing is waited for."""
    for what in moment.state.drains:
        moment.do(CancelTimer(timer=Timer.DRAIN, of=str(what.asked)))
        _give_up(moment, what)


def _give_up(moment: Moment, what: Drain) -> None:
    moment.do(CancelModel(asked=what.asked))
    _forget(moment, what)
    _stand(moment, what)


def _stand(moment: Moment, what: Drain) -> None:
    # What a turn that was cut has cost stands in it, as an estimate, already.
    if what.dropped is not None:
        moment.note(speculated(what.dropped, what.estimate))


def _found(moment: Moment, asked: int) -> Drain | None:
    return next((one for one in moment.state.drains if one.asked == asked), None)


def _forget(moment: Moment, what: Drain) -> None:
    moment.change(drains=tuple(one for one in moment.state.drains if one is not what))
