"""Holds what clients were told against what the log says. A pure function: the same history has the same violations."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from commands.decider import CommandRefused
from commands.dispatch import CommandIdReused, CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable
from commands.flags import FLAGS
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId
from tests.simulator.history import Attempt, Wanted
from tests.simulator.truth import Truth

CLOSED_MS = 60_000
"""A partition that was closed for good says so by this."""


def wanted_by(attempts: Iterable[Attempt]) -> dict[tuple[bytes, bytes, bytes], Wanted]:
    return {(each.stream.key, each.order.command_id, each.order.digest): each.wanted for each in attempts}


def violations(
    truth: Truth, attempts: Sequence[Attempt], told: Mapping[tuple[str, StreamId], Sequence[Recorded[Fact]]], *, gaps: bool
) -> list[str]:
    """What must never be, a sentence each. `gaps`: watchers may miss what happened while another process owned the partition."""
    found = list(truth.found)
    first_begun: dict[tuple[bytes, bytes], float] = {}
    for attempt in attempts:
        first_begun.setdefault((attempt.stream.key, attempt.order.command_id), attempt.begun)
    for attempt in attempts:
        found += _wrong(attempt, truth, first_begun[attempt.stream.key, attempt.order.command_id])
    found += _made_up(attempts, truth)
    found += _unfinished(attempts)
    for (process, stream), facts in told.items():
        found += _mistold(process, stream, facts, truth, gaps=gaps)
    return found


def _wrong(attempt: Attempt, truth: Truth, first_begun: float) -> list[str]:
    key, order, outcome, ended = attempt.stream.key, attempt.order, attempt.outcome, attempt.ended
    if ended is None:
        return [f"{attempt.name} was never answered"]
    effect = truth.effects.get((key, order.command_id))
    if isinstance(outcome, Committed):
        if effect is None:
            return [f"{attempt.name} was told that it is committed at {outcome.position.offset}, and it is not on the log"]
        if effect.digest != order.digest:
            return [f"{attempt.name} got the answer of another body"]
        if (outcome.position, outcome.version) != (effect.position, effect.version):
            told = f"version {outcome.version} at {outcome.position.offset}"
            return [f"{attempt.name} was told of {told}, and the log says version {effect.version} at {effect.position.offset}"]
        if not first_begun <= effect.landed <= ended:
            return [f"{attempt.name} was told of what was not on the log then"]
        if outcome.facts and [fact.position.offset for fact in outcome.facts] != effect.offsets:
            return [f"{attempt.name} was given other facts than the log has"]
        if not outcome.repeated and len(outcome.facts) != effect.version - effect.before:
            return [f"{attempt.name} was given {len(outcome.facts)} facts, and brought about {effect.version - effect.before}"]
        return []
    repeat = effect is not None and effect.digest == order.digest and effect.landed <= attempt.begun
    moments = truth.between(key, attempt.begun, ended)
    if isinstance(outcome, LogUnavailable) and outcome.retry_after_ms == CLOSED_MS and "aybiza." in str(outcome):
        return [f"{attempt.name} found its partition closed: {outcome}"]
    if repeat and isinstance(outcome, CommandRefused | ExpectedVersionMismatch | CommandIdReused):
        return [f"{attempt.name} had been answered, and the repeat heard {type(outcome).__name__}: {outcome}"]
    if isinstance(outcome, ExpectedVersionMismatch):
        if outcome.found == attempt.expected_version or all(moment.version != outcome.found for moment in moments):
            seen = sorted({moment.version for moment in moments})
            return [f"{attempt.name} was told of version {outcome.found}; the stream was at {seen} meanwhile"]
    elif isinstance(outcome, CommandIdReused):
        if effect is None or effect.digest == order.digest or effect.landed > ended:
            return [f"{attempt.name} was told that its id was used with another body, and it was not"]
    elif isinstance(outcome, CommandRefused) and not any(_refuses(attempt, moment.state, type(outcome)) for moment in moments):
        return [f"{attempt.name} was refused ({outcome}), and at no moment of it that was true"]
    return []


def _refuses(attempt: Attempt, state: object, refusal: type[CommandRefused]) -> bool:
    try:
        FLAGS.decide(attempt.command, state)  # type: ignore[arg-type]
    except CommandRefused as refused:
        return type(refused) is refusal
    return False


def _made_up(attempts: Sequence[Attempt], truth: Truth) -> list[str]:
    """A command whose every bearer was told that nothing was appended is not on the log."""
    may_be: set[tuple[bytes, bytes, bytes]] = set()
    for attempt in attempts:
        if attempt.outcome is None or isinstance(attempt.outcome, Committed | CommitInDoubt):
            may_be.add((attempt.stream.key, attempt.order.command_id, attempt.order.digest))
    return [
        f"command {command_id.rstrip(b'.').decode()} is on the log at {effect.position.offset}, and all were told that it is not"
        for (key, command_id), effect in truth.effects.items()
        if (key, command_id, effect.digest) not in may_be
    ]


def _unfinished(attempts: Sequence[Attempt]) -> list[str]:
    by_command: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    for attempt in attempts:
        if isinstance(attempt.outcome, Committed):
            by_command[attempt.stream.key, attempt.order.command_id].add(attempt.order.digest)
    return [f"command {command_id!r} was answered under two bodies" for (_, command_id), bodies in by_command.items() if len(bodies) > 1]


def _mistold(process: str, stream: StreamId, facts: Sequence[Recorded[Fact]], truth: Truth, *, gaps: bool) -> list[str]:
    """Watchers hear of every fact once and in its order, from where they began."""
    if not facts:
        return []
    heard = [fact.position for fact in facts]
    all_facts = truth.facts.get(stream.key, [])
    expected = sorted({*heard} & {*all_facts}) if gaps else all_facts[facts[0].version - 1 :][: len(heard)]
    if heard != expected:
        return [f"who watched {stream.id} at {process} heard of {[(fact.version, fact.position.offset) for fact in facts]}"]
    return []
