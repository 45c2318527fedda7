"""What the log says by its own rule: which records count, what each stream was at any moment, and what each command brought about."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from commands.decider import CommandRefused
from commands.flags import FLAGS
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.headers import Kind
from events.positions import Position
from events.records import RawRecord, position_of
from events.rooms import prepared_codec
from tests.simulator.history import Wanted

CODEC = prepared_codec()
Admission = Callable[[Sequence[RawRecord], int, Fence], list[RawRecord]]
"""Which records a reader takes, who goes on at an offset with a fence."""


def by_rule(records: Sequence[RawRecord], start: int = 0, fence: Fence = UNCLAIMED) -> list[RawRecord]:
    taken = []
    for raw in records[start:]:
        fence, verdict = admit(fence, raw.header)
        if verdict is Verdict.ADMITTED:
            taken.append(raw)
    return taken


@dataclass(slots=True)
class Moment:
    """A stream from `at` on, until its next moment."""

    at: float
    version: int
    state: Any


@dataclass(slots=True)
class Effect:
    """What a command brought about, once: `before` and `version` are the stream's, `position` is that of its last record."""

    commit_id: bytes
    digest: bytes
    landed: float
    position: Position
    before: int
    version: int
    offsets: list[int]


@dataclass(slots=True)
class Truth:
    """`found` says what must not be on any log."""

    moments: dict[bytes, list[Moment]] = field(default_factory=dict)
    effects: dict[tuple[bytes, bytes], Effect] = field(default_factory=dict)
    facts: dict[bytes, list[Position]] = field(default_factory=lambda: defaultdict(list))
    admitted: int = 0
    claims: int = 0
    found: list[str] = field(default_factory=list)

    def between(self, key: bytes, begun: float, ended: float) -> list[Moment]:
        """What the stream was at some time from `begun` to `ended`."""
        moments = self.moments.get(key) or []
        nothing = Moment(-1.0, 0, FLAGS.initial)
        before = [moment for moment in moments if moment.at <= begun]
        return [before[-1] if before else nothing, *(moment for moment in moments if begun < moment.at <= ended)]


def truth_of(
    logs: Sequence[tuple[Sequence[RawRecord], Sequence[float]]], wanted: Mapping[tuple[bytes, bytes, bytes], Wanted], admission: Admission
) -> Truth:
    """From each partition's records and when they landed. `wanted` is by stream key, command id and digest."""
    truth = Truth()
    for records, landed_at in logs:
        commit: list[RawRecord] = []
        timestamp_ms = 0
        for raw in admission(records, 0, UNCLAIMED):
            truth.admitted += 1
            header = raw.header
            if header is None or header.kind not in {Kind.EVENT, Kind.RECEIPT}:
                continue
            if raw.timestamp_ms < timestamp_ms:
                truth.found.append(f"{_at(raw)} was appended before the record that it follows, its time says")
            timestamp_ms = max(timestamp_ms, raw.timestamp_ms)
            commit.append(raw)
            if header.index != len(commit) - 1 or commit[0].header is None or commit[0].header.commit_id != header.commit_id:
                truth.found.append(f"{_at(raw)} is not the next record of its commit")
                commit = []
            elif len(commit) == header.count:
                _take(truth, commit, landed_at[raw.offset], wanted)
                commit = []
        truth.claims += sum(raw.header is not None and raw.header.kind is Kind.CLAIM for raw in records)
        truth.found += readers_differ(records, admission)
    return truth


def _take(truth: Truth, commit: list[RawRecord], landed: float, wanted: Mapping[tuple[bytes, bytes, bytes], Wanted]) -> None:
    last = commit[-1]
    header = last.header
    assert header is not None
    moments = truth.moments.setdefault(last.key, [])
    version, state = (moments[-1].version, moments[-1].state) if moments else (0, FLAGS.initial)
    before = version
    asked = wanted.get((last.key, header.command_id, header.digest))
    if asked is None:
        truth.found.append(f"{_at(last)} is of a command that nobody gave")
        return
    facts = []
    for raw in commit:
        assert raw.header is not None
        version += raw.header.kind is Kind.EVENT
        if raw.header.version != version:
            truth.found.append(f"{_at(raw)} has version {raw.header.version}, and {version} follows")
            version = raw.header.version
        if raw.header.kind is Kind.EVENT:
            facts.append(CODEC.decode(raw.value))
            truth.facts[last.key].append(position_of(raw, raw.header))
    try:
        decided = list(FLAGS.decide(asked.command, state))
    except CommandRefused as refusal:
        decided = [refusal]  # type: ignore[list-item]
    if decided != facts:
        truth.found.append(f"{_at(last)} says {facts}, and {decided} is what had to be decided at version {before}")
    if asked.expected_version is not None and asked.expected_version != before:
        truth.found.append(f"{_at(last)} expected version {asked.expected_version}, and was taken at {before}")
    for fact in facts:
        state = FLAGS.evolve(state, fact)  # type: ignore[arg-type]
    moments.append(Moment(landed, version, state))
    effect = truth.effects.get((last.key, header.command_id))
    if effect is not None:
        truth.found.append(f"{_at(last)}: command {_id(header.command_id)} took effect at {effect.position.offset} before")
        return
    offsets = [raw.offset for raw in commit]
    truth.effects[last.key, header.command_id] = Effect(
        header.commit_id, header.digest, landed, position_of(last, header), before, version, offsets
    )


def readers_differ(records: Sequence[RawRecord], admission: Admission) -> list[str]:
    """A reader who goes on anywhere with the fence of the place reads what one who began at the beginning reads."""
    whole = [raw.offset for raw in admission(records, 0, UNCLAIMED)]
    # Where claims lie it matters; one other place stands for the rest.
    cuts = {at + 1 for at, raw in enumerate(records) if raw.header is not None and raw.header.kind is Kind.CLAIM} | {len(records) // 2}
    fence, fences = UNCLAIMED, {}
    for offset, raw in enumerate(records):
        fences[offset] = fence
        fence, _ = admit(fence, raw.header)
    for cut in sorted(cuts & fences.keys())[-4:]:
        if [raw.offset for raw in admission(records, cut, fences[cut])] != [offset for offset in whole if offset >= cut]:
            return [f"a reader who goes on at offset {cut} of {records[0].topic}/{records[0].partition} reads something else"]
    return []


def _at(raw: RawRecord) -> str:
    return f"{raw.topic}/{raw.partition}/{raw.offset}"


def _id(command_id: bytes) -> str:
    return command_id.rstrip(b".").decode()
