"""Holds every answer against the log as it lies on the brokers: nothing lost, nothing doubled, nothing skipped."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from commands.decider import CommandRefused
from commands.dispatch import CommandIdReused, CommitInDoubt, Committed, ExpectedVersionMismatch
from commands.flags import FLAGS, SetFlag
from commands.ports import Place
from events.admission import UNCLAIMED
from events.headers import Kind
from events.records import RawRecord
from tests.simulator.checker import wanted_by
from tests.simulator.history import Attempt
from tests.simulator.truth import Admission, Moment, Truth, by_rule, truth_of

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader took, and when."""

    raw: RawRecord
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """`found`: what must never be, a sentence each."""

    found: list[str]
    admitted: int
    dropped: int
    claims: int


def check(
    logs: Mapping[Place, Sequence[RawRecord]],
    tails: Mapping[str, Mapping[Place, Sequence[Seen]]],
    attempts: Sequence[Attempt],
    admission: Admission = by_rule,
    *,
    promised: Sequence[Attempt] = (),
) -> Checked:
    """`tails`: what each reader took who read during it all, the one whose times count under "tail". `promised`: what a spool took."""
    found = [f"{place} has a gap in its offsets" for place, raws in logs.items() if [raw.offset for raw in raws] != list(range(len(raws)))]
    latest = {place: _latest(place, raws, tails["tail"].get(place, ()), attempts) for place, raws in logs.items()}
    truth = truth_of([(raws, latest[place]) for place, raws in logs.items()], wanted_by(attempts), admission)
    found += truth.found
    for place, raws in logs.items():
        taken = [raw.offset for raw in admission(raws, 0, UNCLAIMED)]
        for name, tail in tails.items():
            read = [seen.raw.offset for seen in tail.get(place, ())]
            if read != taken:
                found.append(f"{name} read {len(read)} records of {place}, and {len(taken)} count: {_difference(read, taken)}")
    begun: dict[tuple[bytes, bytes], float] = {}
    for attempt in attempts:
        begun.setdefault((attempt.stream.key, attempt.order.command_id), attempt.begun)
    streams = _Streams(truth, begun)
    for attempt in attempts:
        found += _wrong(attempt, truth, streams)
    found += _made_up(attempts, truth)
    found += _doubled(attempts, truth)
    found += [
        f"LOST: {attempt.name} was promised by a spool, and it is not on the log"
        for attempt in promised
        if (attempt.stream.key, attempt.order.command_id) not in truth.effects
    ]
    everything = sum(map(len, logs.values()))
    return Checked(found=found, admitted=truth.admitted, dropped=everything - truth.admitted - truth.claims, claims=truth.claims)


def _latest(place: Place, raws: Sequence[RawRecord], tail: Sequence[Seen], attempts: Sequence[Attempt]) -> list[float]:
    """By when each record lay on the log at the latest: the tail saw it or a later one, or somebody was told of it."""
    latest = [_NEVER] * len(raws)
    for seen in tail:
        latest[seen.raw.offset] = seen.at
    for attempt in attempts:
        told = attempt.outcome
        if isinstance(told, Committed) and told.position[:2] == place and told.position.offset < len(raws) and attempt.ended is not None:
            latest[told.position.offset] = min(latest[told.position.offset], attempt.ended)
    for offset in range(len(latest) - 2, -1, -1):
        latest[offset] = min(latest[offset], latest[offset + 1])
    return latest


class _Streams:
    """What a stream may have been at a time, as far as anybody can know who stands outside."""

    def __init__(self, truth: Truth, begun: Mapping[tuple[bytes, bytes], float]) -> None:
        by_stream: defaultdict[bytes, list[tuple[int, float]]] = defaultdict(list)
        for (key, command_id), effect in truth.effects.items():
            by_stream[key].append((effect.offsets[0], begun[key, command_id]))
        self._earliest: dict[bytes, list[float]] = {}
        for key, entries in by_stream.items():
            earliest, at = [], -_NEVER
            for _, since in sorted(entries):
                at = max(at, since)
                earliest.append(at)
            self._earliest[key] = earliest
        self._moments = truth.moments

    def during(self, key: bytes, begun: float, ended: float) -> list[Moment]:
        moments = [Moment(-_NEVER, 0, FLAGS.initial), *self._moments.get(key, ())]
        earliest = [-_NEVER, *self._earliest.get(key, ())]
        until = [moment.at for moment in moments[1:]] + [_NEVER]
        return [moment for moment, since, at in zip(moments, earliest, until, strict=False) if since <= ended and at >= begun]


def _wrong(attempt: Attempt, truth: Truth, streams: _Streams) -> list[str]:
    key, order, outcome, ended = attempt.stream.key, attempt.order, attempt.outcome, attempt.ended
    if ended is None:
        return [f"{attempt.name} was never answered"]
    effect = truth.effects.get((key, order.command_id))
    if isinstance(outcome, Committed):
        if effect is None:
            return [f"LOST: {attempt.name} was told that it is committed at {outcome.position}, and it is not on the log"]
        if effect.digest != order.digest:
            return [f"{attempt.name} got the answer of another body"]
        if (outcome.position, outcome.version) != (effect.position, effect.version):
            told = f"version {outcome.version} at {outcome.position}"
            return [f"{attempt.name} was told of {told}; the log has {effect.version} at {effect.position}"]
        return []
    if effect is not None and effect.digest == order.digest and effect.landed < attempt.begun:
        if isinstance(outcome, CommandRefused | ExpectedVersionMismatch | CommandIdReused):
            return [f"{attempt.name} had been done, and its repeat heard {type(outcome).__name__}"]
    elif isinstance(outcome, CommandIdReused):
        if effect is None or effect.digest == order.digest:
            return [f"{attempt.name} was told that its id was used with another body, and it was not"]
    elif isinstance(outcome, ExpectedVersionMismatch):
        versions = {moment.version for moment in streams.during(key, attempt.begun, ended)}
        if outcome.found not in versions or outcome.found == attempt.expected_version:
            return [f"{attempt.name} was told of version {outcome.found}; the stream was at one of {sorted(versions)}"]
    elif isinstance(outcome, CommandRefused) and not any(_refused(attempt, moment) for moment in streams.during(key, attempt.begun, ended)):
        return [f"{attempt.name} was refused, and at no moment of it that was true"]
    return []


def _refused(attempt: Attempt, moment: Moment) -> bool:
    try:
        FLAGS.decide(attempt.command, moment.state)
    except CommandRefused:
        return True
    return False


def _made_up(attempts: Sequence[Attempt], truth: Truth) -> list[str]:
    may_be = {
        (attempt.stream.key, attempt.order.command_id, attempt.order.digest)
        for attempt in attempts
        if attempt.outcome is None or isinstance(attempt.outcome, Committed | CommitInDoubt)
    }
    return [
        f"command {command_id.decode()} is on the log at {effect.position}, and whoever asked for it was told that it is not"
        for (key, command_id), effect in truth.effects.items()
        if (key, command_id, effect.digest) not in may_be
    ]


def _doubled(attempts: Sequence[Attempt], truth: Truth) -> list[str]:
    """Each wish is its own words: they stand on the log once."""
    by_wish: defaultdict[tuple[bytes, str], set[bytes]] = defaultdict(set)
    for attempt in attempts:
        effect = truth.effects.get((attempt.stream.key, attempt.order.command_id))
        if isinstance(attempt.command, SetFlag) and effect is not None and effect.digest == attempt.order.digest:
            by_wish[attempt.stream.key, attempt.command.variant].add(attempt.order.command_id)
    return [f"DOUBLED: {variant} took effect {len(ids)} times" for (_, variant), ids in by_wish.items() if len(ids) > 1]


def _difference(read: Sequence[int], taken: Sequence[int]) -> str:
    skipped, extra = sorted(set(taken) - set(read)), sorted(set(read) - set(taken))
    return f"SKIPPED {skipped[:5]}, besides {extra[:5]}" if skipped or extra else "in another order"


def every_record(records: Sequence[RawRecord], start: int = 0, _fence: object = None) -> list[RawRecord]:
    """How a reader would take them who knows nothing of claims: the negative control."""
    return [raw for raw in records[start:] if raw.header is not None and raw.header.kind is not Kind.CLAIM]
