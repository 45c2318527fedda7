"""`aybiza owners`: what a log with two rivals and a stranger on it looks like to a person."""

import io
import time

import pytest
from rich.console import Console

from commands.ports import Claim, NewRecord, Place
from commands.routing.frames import AskStanding, Moved, Standing, decode_request, encode_answer
from commands.routing.ports import Silent, Unreachable
from events.admission import Fence, Verdict
from events.headers import Kind, RecordHeader
from events.ownership import PartitionClaimed, PartitionReleased
from events.records import write_headers
from events.registry import Fact, type_of
from events.rooms import prepared_codec
from infra.adapters.kafka.writer import KafkaLog
from infra.apps.hands import Dropped, Hands, read_hands
from infra.apps.owners import as_data, asked, shown, told
from infra.apps.whereabouts import Whereabouts
from tests.kafka_corner import Corner, corner

CODEC = prepared_codec()
OLD, NEW = b"o" * 16, b"n" * 16
_OLD_AT, _NEW_AT = "127.0.0.1:1001/aaaaaaaa", "127.0.0.1:1002/bbbbbbbb"


def record(kind: Kind, term: int, claim_id: bytes, fact: Fact | None = None) -> NewRecord:
    header = RecordHeader(kind, term, claim_id)
    value = b"" if fact is None else CODEC.encode(fact)
    ce_type = "barrier" if fact is None else type_of(fact).ce_type
    return NewRecord(b"k", value, time.time_ns() // 1_000_000, write_headers("flags", ce_type, "id", header.pack()))


def claim(term: int, claim_id: bytes, address: str) -> NewRecord:
    return record(Kind.CLAIM, term, claim_id, PartitionClaimed(address=address))


def barrier(term: int, claim_id: bytes) -> NewRecord:
    return record(Kind.BARRIER, term, claim_id)


@pytest.fixture
async def there(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


async def written(there: Corner, log: KafkaLog) -> Place:
    """A partition on which an owner was superseded while it slept, a third came too late, and somebody else wrote."""
    place = Place(there.flags, 3)
    stranger = NewRecord(b"k", b"v", 1, [("content-type", b"text/plain")])
    for batch in (
        [claim(1, OLD, _OLD_AT)], [barrier(1, OLD)], [claim(2, NEW, _NEW_AT)], [barrier(1, OLD), barrier(1, OLD)], [barrier(2, NEW)],
        [claim(2, OLD, _OLD_AT)], [stranger], [barrier(7, OLD)],
    ):  # fmt: skip
        await log.append(place, batch)
    return place


class Peer:
    """`commands.routing.ports.Peers`: one process at one address."""

    def __init__(self, address: str, answer: Standing | Moved | Exception) -> None:
        self._address = address
        self._answer = answer

    async def ask(self, address: str, request: bytes, seconds: float) -> bytes:
        asked = decode_request(request)
        assert isinstance(asked, AskStanding)
        assert asked.to == address
        if address != self._address:
            raise Unreachable
        if isinstance(self._answer, Exception):
            raise self._answer
        return encode_answer(self._answer)


class TestAPartition:
    async def test_is_told_with_every_claim_and_the_places_of_what_no_reader_takes(self, there: Corner) -> None:
        async with KafkaLog(there.bootstrap) as log:
            place = await written(there, log)
            hands = await read_hands(log, CODEC, place, await log.end_offset(place))
        assert [(each.term, each.address, each.offset) for each in hands.claims] == [(1, _OLD_AT, 0), (2, _NEW_AT, 2)]
        assert (hands.fence, hands.end, hands.admitted) == (Fence(2, NEW), 9, 2)
        assert hands.dropped == [
            Dropped(verdict=Verdict.SUPERSEDED, term=1, first=3, last=4),
            Dropped(verdict=Verdict.LOST_CLAIM, term=2, first=6, last=6),
            Dropped(verdict=Verdict.FOREIGN, term=None, first=7, last=7),
            Dropped(verdict=Verdict.FOREIGN, term=7, first=8, last=8),
        ]

    async def test_is_read_from_a_claim_that_is_known_where_it_is_long(self, there: Corner) -> None:
        class Index:
            async def claim_before(self, place: Place, offset: int) -> tuple[int, Fence] | None:
                return (2, Fence(2, NEW)) if offset > 2 else None

        async with KafkaLog(there.bootstrap) as log:
            place = await written(there, log)
            end = await log.end_offset(place)
            late = await read_hands(log, CODEC, place, end, last_records=6, index=Index())
            whole = await read_hands(log, CODEC, place, end, last_records=8, index=Index())
        assert (late.start, [each.term for each in late.claims], late.fence) == (2, [2], Fence(2, NEW))
        assert late.dropped == whole.dropped
        assert (whole.start, len(whole.claims)) == (0, 2)

    async def test_that_was_given_up_has_no_owner(self, there: Corner) -> None:
        place = Place(there.flags, 4)
        async with KafkaLog(there.bootstrap) as log:
            await log.append(place, [claim(1, OLD, _OLD_AT)])
            await log.append(place, [record(Kind.RELEASE, 1, OLD, PartitionReleased(successor=_NEW_AT))])
            hands = await read_hands(log, CODEC, place, 2)
        (seen,) = await asked([hands], Peer(_OLD_AT, Silent()), [])
        assert (hands.released, seen.holder, seen.answer) == (_NEW_AT, None, "nobody")


class TestAnOwner:
    @pytest.mark.parametrize(
        ("peer", "answer", "lag"),
        [
            (Peer(_NEW_AT, Standing(7, Fence(2, NEW))), "yes", 2),
            (Peer(_NEW_AT, Standing(9, Fence(3, OLD))), "yes", 0),
            (Peer(_NEW_AT, Silent()), "silent", None),
            (Peer(_NEW_AT, Moved(Claim(3, OLD, _OLD_AT, 9))), "not the owner", None),
            (Peer(_OLD_AT, Silent()), "no", None),
        ],
    )
    async def test_is_asked_how_far_it_is(self, peer: Peer, answer: str, lag: int | None) -> None:
        hands = Hands(place=Place("aybiza.flags.v1", 3), end=9, fence=Fence(2, NEW), claims=[Claim(2, NEW, _NEW_AT, 2)])
        process = Whereabouts(role="commands", pid=4711, started=1.0, peer=_NEW_AT)
        (seen,) = await asked([hands], peer, [process])
        assert (seen.answer, seen.lag, as_data(seen)["process"]) == (answer, lag, {"role": "commands", "pid": 4711})

    async def test_is_shown_with_what_was_dropped(self) -> None:
        dropped = [
            Dropped(verdict=Verdict.SUPERSEDED, term=1, first=3, last=4),
            Dropped(verdict=Verdict.FOREIGN, term=None, first=7, last=7),
        ]
        place = Place("aybiza.flags.v1", 3)
        hands = Hands(place=place, end=9, fence=Fence(2, NEW), claims=[Claim(2, NEW, _NEW_AT, 2)], dropped=dropped)
        seen = await asked([hands, Hands(place=Place("aybiza.flags.v1", 4))], None, [])
        out = io.StringIO()
        Console(width=120, file=out).print(shown(seen))
        assert "flags/3" in out.getvalue()
        assert "1 FOREIGN, 2" in out.getvalue()
        assert "flags/4" not in out.getvalue()
        assert [str(line) for line in told(seen)] == [
            "flags/3: 3 to 4 superseded (term 1 after term 2 at 2); 7 FOREIGN (no header of ours): look for who else writes",
            "1 partitions have no record yet.",
        ]
