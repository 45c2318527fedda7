"""What is asked of a broker in a fetch session, what it says, and that nothing is lost when it forgets one."""

import io
from collections.abc import AsyncIterator, Mapping

import pytest
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11

from commands.ports import NewRecord, Place
from infra.adapters.kafka.link import Connection, Link
from infra.adapters.kafka.sessions import FetchAnswer, FetchRequest, FetchSession, Part
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import Corner, corner

ONE, TWO, THREE = Place("a.v1", 0), Place("a.v1", 1), Place("b.v1", 7)


def said(request: FetchRequest) -> tuple[tuple[int, int], dict[Place, int], set[Place]]:
    """A request as another program reads it: the session and its epoch, what is wanted, what is forgotten."""
    frame = io.BytesIO(request.frame(5, b"reader"))
    assert int.from_bytes(frame.read(4)) == len(frame.getvalue()) - 4
    assert (frame.read(8), frame.read(8)) == (b"\0\x01\0\x0b\0\0\0\x05", b"\0\x06reader")
    read = FetchRequest_v11.decode(frame)
    assert not frame.read()
    assert (read.replica_id, read.min_bytes, read.isolation_level, read.rack_id) == (-1, 1, 0, "")
    wanted = {Place(topic, each[0]): each[2] for topic, parts in read.topics for each in parts}
    forgotten = {Place(topic, each) for topic, parts in read.forgotten_topics_data for each in parts}
    return (read.session_id, read.session_epoch), wanted, forgotten


class TestRequest:
    def test_by_itself_belongs_to_no_session(self) -> None:
        assert said(FetchRequest({ONE: 3, THREE: 2**40, TWO: 0}, 500)) == ((0, -1), {ONE: 3, THREE: 2**40, TWO: 0}, set())


class TestAnswer:
    def test_is_read_as_another_program_writes_it(self) -> None:
        topics = [
            ("a.v1", [(0, 0, 12, 12, 0, [], -1, b"records"), (1, 6, -1, -1, -1, None, -1, None)]),
            ("b.v1", [(7, 0, 2**40, 0, 3, [(5, 6), (7, 8)], -1, b"")]),
        ]
        written = FetchResponse_v11(0, 70, 99, topics).encode()
        stream = io.BytesIO(b"\0\0\0\x05" + written)
        FetchRequest.parse_response_header(stream)
        assert FetchRequest({}, 0).RESPONSE_TYPE.decode(stream) == FetchAnswer(
            70, 99, [Part(ONE, 0, 12, 0, b"records"), Part(TWO, 6, -1, -1, b""), Part(THREE, 0, 2**40, 3, b"")]
        )


def wanting(wanted: Mapping[Place, int], *, lasting: bool = True) -> FetchSession:
    session = FetchSession(500, lasting=lasting)
    for place, offset in wanted.items():
        session.want(place, offset)
    return session


def granted(number: int, code: int = 0) -> FetchAnswer:
    return FetchAnswer(code, number, [])


class TestSession:
    def test_names_all_at_first_and_then_what_changed(self) -> None:
        session = wanting({ONE: 1, TWO: 2})
        assert said(session.request()) == ((0, 0), {ONE: 1, TWO: 2}, set())
        assert session.answered(granted(9))
        assert said(session.request()) == ((9, 1), {}, set())
        session.want(THREE, 4)
        session.leave(TWO)
        assert session.answered(granted(9))
        assert said(session.request()) == ((9, 2), {THREE: 4}, {TWO})
        assert session.told == {ONE: 1, THREE: 4}

    def test_tells_next_time_what_changed_while_an_answer_was_on_its_way(self) -> None:
        session = wanting({ONE: 1})
        session.request()
        session.want(ONE, 5)
        assert session.told == {ONE: 1}
        assert session.answered(granted(9))
        assert said(session.request()) == ((9, 1), {ONE: 5}, set())

    def test_of_which_a_broker_knows_nothing_names_all_again(self) -> None:
        for code in (70, 71):
            session = wanting({ONE: 1, TWO: 2})
            session.request()
            assert session.answered(granted(9))
            session.want(ONE, 3)
            session.request()
            assert not session.answered(granted(0, code))
            assert said(session.request()) == ((9, 0), {TWO: 2, ONE: 3}, set())

    def test_names_all_each_time_where_the_broker_has_no_place_for_one(self) -> None:
        session = wanting({ONE: 1, TWO: 2})
        for _ in range(2):
            assert said(session.request()) == ((0, 0), {ONE: 1, TWO: 2}, set())
            assert session.answered(granted(0))

    def test_is_not_asked_for_by_a_short_reading(self) -> None:
        session = wanting({ONE: 1, TWO: 2}, lasting=False)
        for _ in range(2):
            assert said(session.request()) == ((0, -1), {ONE: 1, TWO: 2}, set())
            assert session.answered(granted(0))

    def test_puts_last_who_was_served(self) -> None:
        session = wanting({ONE: 1, TWO: 2, THREE: 3}, lasting=False)
        session.want(ONE, 5)
        assert list(said(session.request())[1]) == [TWO, ONE, THREE]
        assert list(session.wanted) == [TWO, THREE, ONE]


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


@pytest.fixture
async def link(here: Corner) -> AsyncIterator[Link]:
    async with Link(here.bootstrap, "reader-session") as link:
        yield link


@pytest.fixture
async def broker(link: Link, here: Corner) -> tuple[int, Connection]:
    leader = await link.leader_of(here.flags, 0)
    assert leader is not None
    return leader, await link.connection(leader)


async def written(here: Corner, place: Place) -> None:
    async with KafkaLog(here.bootstrap) as log:
        await log.append(place, [NewRecord(b"", b"", 1, [])])


class TestAtABroker:
    async def test_names_only_the_partition_that_grew(self, here: Corner, link: Link, broker: tuple[int, Connection]) -> None:
        _, connection = broker
        places = [Place(here.flags, partition) for partition in range(here.partitions)]
        session = wanting(dict.fromkeys(places, 0))
        first = await link.post(connection, session.request())
        assert {part.place for part in first.parts} == set(places)
        assert session.answered(first)
        asked = link.post(connection, session.request())
        await written(here, places[3])
        answer = await asked
        assert [(part.place, part.code, bool(part.data)) for part in answer.parts] == [(places[3], 0, True)]

    async def test_that_forgot_it_loses_nothing(self, here: Corner, link: Link, broker: tuple[int, Connection]) -> None:
        _, connection = broker
        place = Place(here.flags, 3)
        session = wanting({place: 0})
        first = await link.post(connection, session.request())
        assert session.answered(first)
        assert first.session
        # As any client may end it, over a connection of its own: a session is the broker's, not the socket's.
        async with Link(here.bootstrap, "stranger") as stranger:
            other = await stranger.connection(broker[0])
            assert (await stranger.post(other, FetchRequest({}, 0, session=first.session, epoch=-1))).code == 0
        await written(here, place)
        refused = await link.post(connection, session.request())
        assert refused.code
        assert not session.answered(refused)
        answer = await link.post(connection, session.request())
        assert session.answered(answer)
        assert [(part.place, bool(part.data)) for part in answer.parts] == [(place, True)]
