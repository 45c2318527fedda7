"""What is admitted follows from the order of records alone: however they are cut into batches and answers, wherever a reader begins."""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.ports import Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.headers import Kind, RecordHeader
from events.records import AdmittedBatch, RawRecord, write_headers
from infra.adapters.kafka.admitting import Passage
from infra.adapters.kafka.fetching import Fetched

PLACE = Place("aybiza.flags.v1", 0)
WRITERS = [Fence(term, bytes([claim]) * 16) for term in (1, 2, 3) for claim in (7, 8)]
Batch = Sequence[RecordHeader | None]


@st.composite
def histories(draw: st.DrawFn) -> list[Batch]:
    """Batches as owners write them: claims, words, commits of several records that share a batch; and what a stranger writes."""
    batches: list[Batch] = []
    for number in range(draw(st.integers(1, 12))):
        writer = draw(st.sampled_from(WRITERS))
        kind = draw(st.sampled_from(["claim", "commits", "commits", "commits", "stranger"]))
        if kind == "claim":
            batches.append([RecordHeader(kind=Kind.CLAIM, term=writer.term, claim_id=writer.claim_id)])
        elif kind == "stranger":
            batches.append([None] * draw(st.integers(1, 2)))
        else:
            records: list[RecordHeader] = []
            for commit in range(draw(st.integers(1, 3))):
                size = draw(st.integers(1, 3))
                commit_id = struct.pack(">QQ", number, commit)
                records += [
                    RecordHeader(kind=Kind.EVENT, term=writer.term, claim_id=writer.claim_id, commit_id=commit_id, index=index, count=size)
                    for index in range(size)
                ]
            batches.append(records)
    return batches


def encoded(base: int, records: Batch) -> bytes:
    """A record batch as a broker stores it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for at, header in enumerate(records):
        headers = [] if header is None else write_headers("flags", "flag-set.v1", "id", header.pack())
        builder.append(at, 0, b"a/flags/b", b"", headers)
    batch = struct.pack(">Q", base) + bytes(builder.build())[8:]
    return batch[:17] + struct.pack(">I", calc_crc32c(batch[21:])) + batch[21:]


class Log:
    """One partition on paper, which answers as a broker: whole batches, also from the middle of one."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.headers = [header for batch in batches for header in batch]
        self._batches: list[tuple[int, int, bytes]] = []
        end = 0
        for batch in batches:
            self._batches.append((end, end + len(batch), encoded(end, batch)))
            end += len(batch)

    def fetched(self, offset: int, batches: int) -> Fetched:
        there = [data for _, end, data in self._batches if end > offset]
        return Fetched(PLACE, offset, b"".join(there[:batches]))

    def read(self, begin: tuple[int, Fence], cuts: Sequence[int], dropped: "Counter[Verdict] | None" = None) -> list[AdmittedBatch]:
        """All that a reader takes who is given so many batches in each answer."""

        def count(_raw: RawRecord, verdict: Verdict, _fence: Fence) -> None:
            if dropped is not None:
                dropped[verdict] += 1

        return list(self.taken(Passage(PLACE, *begin, count), cuts))

    def taken(self, passage: Passage, cuts: Sequence[int]) -> Iterator[AdmittedBatch]:
        for cut in [*cuts, *[1] * len(self._batches)]:
            if passage.offset < len(self.headers) and not passage.done:
                yield passage.take(self.fetched(passage.offset, cut))


def offsets(batches: Sequence[AdmittedBatch]) -> list[int]:
    return [raw.offset for batch in batches for raw in batch.records]


CUTS = st.lists(st.integers(1, 4), max_size=12)


@settings(max_examples=150)
@given(histories(), CUTS)
def test_is_the_same_however_the_records_come(history: list[Batch], cuts: list[int]) -> None:
    log, fence, expected, verdicts = Log(history), UNCLAIMED, [], Counter[Verdict]()
    for offset, header in enumerate(log.headers):
        fence, verdict = admit(fence, header)
        verdicts[verdict] += 1
        if verdict is Verdict.ADMITTED:
            expected.append(offset)
    dropped: Counter[Verdict] = Counter()
    found = log.read((0, UNCLAIMED), cuts, dropped)
    assert offsets(found) == expected
    assert (found[-1].next_offset, found[-1].fence) == (len(log.headers), fence)
    assert dropped + Counter({Verdict.ADMITTED: len(expected)}) == verdicts


@settings(max_examples=150)
@given(histories(), CUTS, CUTS, st.data())
def test_goes_on_from_any_position_that_a_reader_was_given(
    history: list[Batch], cuts: list[int], others: list[int], data: st.DataObject
) -> None:
    log = Log(history)
    whole = log.read((0, UNCLAIMED), cuts)
    at = data.draw(st.integers(0, len(whole) - 1))
    rest = log.read((whole[at].next_offset, whole[at].fence), others)
    assert offsets(whole[: at + 1]) + offsets(rest) == offsets(whole)


@settings(max_examples=150)
@given(histories(), CUTS, st.data())
def test_never_ends_within_a_commit(history: list[Batch], cuts: list[int], data: st.DataObject) -> None:
    log = Log(history)
    stop = data.draw(st.integers(0, len(log.headers)))
    passage = Passage(PLACE, 0, UNCLAIMED, lambda *_: None)
    passage.stop = stop
    found = list(log.taken(passage, cuts))
    for batch in found:
        assert batch.next_offset <= stop
        if batch.records:
            last = batch.records[-1].header
            assert last is not None
            assert last.index == last.count - 1
    whole = offsets(log.read((0, UNCLAIMED), []))
    assert offsets(found) == whole[: len(offsets(found))]


def test_needs_the_fence_that_travels_with_the_position() -> None:
    """The negative control: who goes on from a bare offset admits nothing of the writer who was there."""
    claim, event = (RecordHeader(kind=kind, term=1, claim_id=WRITERS[0].claim_id) for kind in (Kind.CLAIM, Kind.EVENT))
    log = Log([[claim], [event], [event]])
    assert offsets(log.read((2, WRITERS[0]), [])) == [2]
    assert offsets(log.read((2, UNCLAIMED), [])) == []
