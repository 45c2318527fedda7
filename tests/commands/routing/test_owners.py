"""Processes on one log: who decides, who takes over, and who is left in peace."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import count

import pytest

from commands.decider import NotFound
from commands.dispatch import CommitInDoubt, Committed, LogUnavailable, UnknownCategory
from commands.flags import FLAGS, RemoveFlag
from commands.ownership.appending import World
from commands.ownership.partition import Patience
from commands.ports import Claim, Place
from commands.routing.claims import KnownClaims
from commands.routing.frames import (
    Alive,
    Answer,
    Look,
    Moved,
    NotUnderstood,
    Prepare,
    Raised,
    Taken,
    TakeOver,
    decode_answer,
    encode_answer,
    encode_request,
)
from commands.routing.owners import Owners
from commands.routing.ports import Assignment
from commands.routing.raised import encode_raised
from commands.wire import UnknownCommand
from events.headers import Kind
from events.ownership import PartitionReleased
from events.registry import EventType
from events.streams import StreamId, partition_of
from tests.commands.ownership.desk import CODEC, DECIDERS, OFF, ON, PLACE, order, stream
from tests.paper_log import Mishap, PaperKafka
from tests.paper_peers import PaperNet, PaperPeers

A, B, C = "a.test:1/00000001", "b.test:1/00000001", "c.test:1/00000001"
OTHER = Place(PLACE.topic, 1)
# A busy machine lets the living be silent for long; whoever asks the dead need not be patient.
PATIENCE = Patience(answer_seconds=60.0, away_seconds=0.01, superseded_seconds=0.01, silence_seconds=10.0)
HASTY = replace(PATIENCE, silence_seconds=0.05)


class Register:
    """Every schema is known."""

    async def register(self, kinds: Iterable[EventType]) -> None:
        """Nothing to do."""

    async def learn(self, marks: Iterable[bytes]) -> None:
        raise AssertionError(f"every schema is known: {list(marks)}")


class Plan:
    """`commands.routing.ports.Assignments` as a test says."""

    def __init__(self, *places: Place) -> None:
        self.queue: asyncio.Queue[Assignment] = asyncio.Queue()
        self.say(1, *places)

    def say(self, generation: int, *places: Place) -> None:
        self.queue.put_nowait(Assignment(generation=generation, places=frozenset(places)))

    async def changes(self) -> AsyncGenerator[Assignment, None]:
        while True:
            yield await self.queue.get()


class Village:
    """Processes by their addresses, on two partitions of one log. `claims[address]` is what each knows of the others."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.kafka = PaperKafka()
        self.net = PaperNet()
        self.claims: dict[str, KnownClaims] = {}
        self._stack = stack
        self._draws = count(1)

    def build(self, address: str, plan: Plan, patience: Patience = PATIENCE) -> Owners:
        """A process that others reach, and that runs when it is entered."""
        claims = self.claims[address] = KnownClaims()
        world = World(
            log=self.kafka, schemas=Register(), now_ms=lambda: 1_000, draw=lambda length: next(self._draws).to_bytes(16, "little")[:length]
        )
        owners = Owners(
            {"flags": (PLACE.topic, 2)}, DECIDERS, CODEC, world, address=address, peers=PaperPeers(self.net, address),
            claims=claims, assignments=plan, patience=patience,
        )  # fmt: skip
        self.net.serving[address] = owners.serve
        return owners

    async def enter(self, address: str, *places: Place, patience: Patience = PATIENCE) -> Owners:
        """A process that owns these places."""
        owners = await self._stack.enter_async_context(self.build(address, Plan(*places), patience))
        await until(lambda: owned(owners) >= set(places))
        return owners

    def tell(self, *addresses: str) -> None:
        """Everybody hears of everybody's claims."""
        for address in addresses or tuple(self.claims):
            for known in tuple(self.claims.values()):
                for place in (PLACE, OTHER):
                    claim = known.of(place)
                    if claim is not None:
                        self.claims[address].learn(place, claim)

    def claimed(self, place: Place = PLACE) -> int:
        return self.kinds(place).count(Kind.CLAIM)

    def kinds(self, place: Place = PLACE) -> list[Kind]:
        return [raw.header.kind for raw in self.kafka.partition(place).records if raw.header is not None]


@pytest.fixture
async def village() -> AsyncIterator[Village]:
    async with AsyncExitStack() as stack:
        yield Village(stack)


def owned(owners: Owners) -> set[Place]:
    return {each.place for each in owners.ownerships() if each.owned}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not true():
            await asyncio.sleep(0)


def on(partition: int, number: int = 0) -> StreamId:
    """The nth stream on a partition."""
    names = (stream(f"s{each}") for each in range(1_000))
    return [each for each in names if partition_of(each.key, 2) == partition][number]


def ask(owners: Owners, name: str, command: object = ON, at: StreamId | None = None) -> asyncio.Task[Committed]:
    return asyncio.create_task(owners(FLAGS, at or on(0), command, order(name)))


class TestHolder:
    async def test_decides_whoever_was_asked(self, village: Village) -> None:
        a, b = await village.enter(A, PLACE), await village.enter(B, OTHER)
        village.tell()
        first, second = await ask(b, "first"), await ask(a, "second", OFF, on(1))
        assert (first.version, second.version) == (1, 1)
        assert (await ask(a, "first")).position == first.position
        assert (owned(a), owned(b)) == ({PLACE}, {OTHER})
        assert (village.claimed(PLACE), village.claimed(OTHER)) == (1, 1)

    async def test_is_found_on_the_log_by_who_has_no_hint(self, village: Village) -> None:
        await village.enter(A, PLACE)
        guest = await village.enter(B)
        assert (await ask(guest, "first")).version == 1
        assert village.claimed() == 1

    async def test_that_died_is_taken_over_from_at_once_and_its_commands_with_it(self, village: Village) -> None:
        a, guest = await village.enter(A, PLACE), await village.enter(B)
        village.tell()
        first = await ask(a, "first")
        village.net.dead.add(A)
        again, second = await ask(guest, "first"), await ask(guest, "second", OFF)
        assert (again.position, again.repeated, second.version) == (first.position, True, 2)
        assert owned(guest) == {PLACE}

    async def test_that_is_silent_twice_is_dead_and_finds_its_late_commit_dropped(self, village: Village) -> None:
        a, guest = await village.enter(A, PLACE), await village.enter(B, patience=HASTY)
        village.tell()
        village.net.frozen.add(A)
        assert (await ask(guest, "first")).version == 1
        assert owned(guest) == {PLACE}
        village.net.frozen.clear()
        # It thaws, believes that it owns the partition, appends, learns better, and forwards.
        assert (await ask(a, "second", OFF)).version == 2
        assert (owned(a), owned(guest)) == (set(), {PLACE})
        assert len(village.kafka.partition(PLACE).admitted()) == 2

    async def test_that_is_slow_but_alive_is_left_alone(self, village: Village) -> None:
        a, guest = await village.enter(A, PLACE), await village.enter(B, patience=replace(PATIENCE, silence_seconds=0.3))
        village.tell()
        village.kafka.open.clear()
        asked = ask(guest, "first")
        looks = encode_request(Look(A))
        await until(lambda: village.net.asked.count((A, looks)) >= 2)
        village.kafka.open.set()
        assert (await asked).version == 1
        assert (owned(a), owned(guest)) == ({PLACE}, set())

    async def test_whose_place_another_incarnation_has_is_dead(self, village: Village) -> None:
        await village.enter(A, PLACE)
        guest = await village.enter(B)
        village.tell()
        village.net.serving[A.replace("1/0", "1/f")] = village.net.serving.pop(A)
        village.net.serving[A.replace("1/0", "1/f")] = village.build(A.replace("1/0", "1/f"), Plan()).serve
        assert (await ask(guest, "first")).version == 1
        assert owned(guest) == {PLACE}

    async def test_that_had_our_own_port_before_us_is_dead(self, village: Village) -> None:
        await village.enter(A, PLACE)
        again = await village.enter(A.replace("1/0", "1/f"))
        village.tell()
        assert (await ask(again, "first")).version == 1
        assert owned(again) == {PLACE}

    async def test_that_lost_it_says_where_it_went(self, village: Village) -> None:
        a, guest = await village.enter(A, PLACE), await village.enter(C)
        village.tell()
        b = await village.enter(B, PLACE)
        await suppressed(ask(a, "told"))
        assert (await ask(guest, "first", OFF)).version == 2
        known = village.claims[C].of(PLACE)
        assert known is not None
        assert (known.address, owned(b)) == (B, {PLACE})


async def suppressed(task: asyncio.Task[Committed]) -> None:
    with suppress(LogUnavailable):
        await task


class TestDoubt:
    async def test_remains_when_a_command_died_with_its_holder_and_the_log_is_away(self, village: Village) -> None:
        await village.enter(A, PLACE)
        guest = await village.enter(B, patience=HASTY)
        village.tell()
        village.net.frozen.add(A)
        village.kafka.mishaps.extend([Mishap.NOT_SENT] * 3)
        with pytest.raises(CommitInDoubt):
            await ask(guest, "first")

    async def test_remains_when_a_frozen_process_has_the_command_that_was_refused_here(self, village: Village) -> None:
        await village.enter(A, PLACE)
        guest = await village.enter(B, patience=HASTY)
        village.tell()
        village.net.frozen.add(A)
        # It may thaw, claim again, and take what it was given: by then something may be set that can be removed.
        with pytest.raises(CommitInDoubt):
            await ask(guest, "first", RemoveFlag())
        with pytest.raises(NotFound):
            await ask(guest, "first", RemoveFlag())

    async def test_is_none_when_it_never_left(self, village: Village) -> None:
        await village.enter(A, PLACE)
        guest = await village.enter(B)
        village.tell()
        village.net.dead.add(A)
        village.kafka.mishaps.extend([Mishap.NOT_SENT] * 3)
        with pytest.raises(LogUnavailable):
            await ask(guest, "first")


class TestDuel:
    @pytest.mark.parametrize(("most_seconds", "settles"), [(30.0, True), (0.005, False)])
    async def test_of_two_who_cannot_see_each_other_settles(self, village: Village, most_seconds: float, settles: bool) -> None:
        """The second case shows that it is the doubling which makes the claims rarer and rarer."""
        patience = Patience(superseded_seconds=0.005, superseded_most_seconds=most_seconds, silence_seconds=0.05)
        a, b = await village.enter(A, PLACE, patience=patience), await village.enter(B, patience=patience)
        village.net.cut.add(frozenset({A, B}))
        village.tell()
        rests_ms: list[int] = []

        async def busy(owners: Owners, name: str) -> None:
            for number in count():
                if village.claimed() >= 12:
                    return
                try:
                    await ask(owners, f"{name}{number}", (ON, OFF)[number % 2])
                except LogUnavailable as away:
                    rests_ms.append(away.retry_after_ms)
                    await asyncio.sleep(away.retry_after_ms / 1000)
                await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(busy(a, "a"))
            tasks.create_task(busy(b, "b"))
        assert (max(rests_ms) > 40) is settles


class TestAssignment:
    async def test_claims_what_is_new_and_keeps_what_nobody_took(self, village: Village) -> None:
        plan = Plan(PLACE)
        async with village.build(A, plan) as a:
            await until(lambda: owned(a) == {PLACE})
            plan.say(2, OTHER)
            await until(lambda: owned(a) == {PLACE, OTHER})
            plan.say(2)
            plan.say(1, PLACE)
            b = await village.enter(B, PLACE)
            village.tell()
            assert (await ask(a, "first")).version == 1
            assert (owned(a), owned(b)) == ({OTHER}, {PLACE})

    async def test_that_did_not_change_takes_nothing_back(self, village: Village) -> None:
        plan = Plan(PLACE)
        async with village.build(A, plan) as a:
            await until(lambda: owned(a) == {PLACE})
            village.net.dead.add(A)
            guest = await village.enter(B)
            village.tell()
            await ask(guest, "first")
            village.net.dead.clear()
            plan.say(2, PLACE, OTHER)
            await until(lambda: OTHER in owned(a))
            assert (await ask(a, "second", OFF)).version == 2
            assert (owned(a), owned(guest)) == ({OTHER}, {PLACE})

    async def test_anew_is_claimed_again_where_another_had_it_meanwhile_unheard(self, village: Village) -> None:
        plan = Plan(PLACE)
        async with village.build(A, plan) as a:
            await until(lambda: owned(a) == {PLACE})
            plan.say(2)
            await village.enter(B, PLACE)
            village.net.dead.add(B)
            plan.say(3, PLACE)
            await until(lambda: village.claimed() == 3)
            await until(lambda: owned(a) == {PLACE})
            assert (await ask(a, "first")).version == 1

    async def test_takes_back_what_was_taken_by_need_once_who_took_it_is_dead(self, village: Village) -> None:
        plan = Plan(PLACE)
        async with village.build(A, plan) as a:
            await until(lambda: owned(a) == {PLACE})
            village.net.dead.add(A)
            guest = await village.enter(B)
            village.tell()
            await ask(guest, "first")
            village.tell()
            village.net.dead = {B}
            plan.say(2, PLACE)
            await until(lambda: village.claimed() == 3)
            assert (await ask(a, "second", OFF)).version == 2


class TestStop:
    async def test_hands_over_to_a_process_that_owns_something(self, village: Village) -> None:
        b = await village.enter(B, OTHER)
        async with village.build(A, Plan(PLACE)) as a:
            await until(lambda: owned(a) == {PLACE})
            village.tell()
            asked = [ask(a, f"c{number}", at=on(0, number)) for number in range(5)]
            await asyncio.sleep(0)
        assert owned(b) == {PLACE, OTHER}
        assert [(await each).version for each in asked] == [1] * 5
        release = next(raw for raw in village.kafka.partition(PLACE).records if raw.header and raw.header.kind is Kind.RELEASE)
        assert CODEC.decode(release.value) == PartitionReleased(successor=B)
        assert (await ask(b, "c0", at=on(0, 0))).repeated

    async def test_of_one_that_is_alone_only_releases(self, village: Village) -> None:
        async with village.build(A, Plan(PLACE)) as a:
            await until(lambda: owned(a) == {PLACE})
        assert village.kinds() == [Kind.CLAIM, Kind.RELEASE]

    async def test_sends_who_still_asks_to_the_successor(self, village: Village) -> None:
        guest, b = await village.enter(C), await village.enter(B, OTHER)
        async with village.build(A, Plan(PLACE)) as a:
            await until(lambda: owned(a) == {PLACE})
            village.tell()
        assert (await ask(guest, "first")).version == 1
        assert owned(b) == {PLACE, OTHER}
        assert village.claimed() == 2

    async def test_without_a_living_neighbour_does_not_wait_for_one(self, village: Village) -> None:
        await village.enter(B, OTHER)
        async with village.build(A, Plan(PLACE), HASTY) as a:
            await until(lambda: owned(a) == {PLACE})
            village.tell()
            village.net.frozen.add(B)
        release = village.kafka.partition(PLACE).records[-1]
        assert CODEC.decode(release.value) == PartitionReleased(successor="")


class TestServe:
    async def test_tells_a_stranger_who_it_is(self, village: Village) -> None:
        a = await village.enter(A, PLACE)
        assert decode_answer(await a.serve(encode_request(Look(B)))) == Alive(A)

    async def test_says_in_words_that_it_does_not_understand(self, village: Village) -> None:
        a = await village.enter(A, PLACE)
        answer = decode_answer(await a.serve(b"\x09\x00"))
        assert isinstance(answer, NotUnderstood)
        assert "run one version" in answer.text

    async def test_reads_what_it_will_be_handed_and_claims_nothing_yet(self, village: Village) -> None:
        a, b = await village.enter(A), await village.enter(B, PLACE)
        await ask(b, "first")
        assert decode_answer(await a.serve(encode_request(Prepare(A, PLACE)))) == Alive(A)
        (known,) = [each for each in a.ownerships() if each.place == PLACE]
        assert (known.owned, known.next_offset, village.claimed()) == (False, 2, 1)

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            (NotUnderstood("this process speaks layout 2"), "another version of the program"),
            (Raised(encode_raised(UnknownCommand("SetFlag of 'flags' is not known here"))), "does not know the command"),
        ],
    )
    async def test_of_another_version_is_no_failure_of_the_command(self, village: Village, said: Answer, meant: str) -> None:
        await village.enter(A, PLACE)
        guest = await village.enter(B)
        village.tell()

        async def another(_: bytes) -> bytes:
            return encode_answer(said)

        village.net.serving[A] = another
        with pytest.raises(LogUnavailable, match=meant):
            await ask(guest, "first")

    async def test_claims_what_it_is_handed_unless_somebody_else_did(self, village: Village) -> None:
        a, b = await village.enter(A), await village.enter(B, PLACE)
        answer = decode_answer(await a.serve(encode_request(TakeOver(A, PLACE, 0))))
        assert isinstance(answer, Moved)
        assert (answer.claim.address, owned(a)) == (B, set())
        answer = decode_answer(await a.serve(encode_request(TakeOver(A, PLACE, 1))))
        assert isinstance(answer, Taken)
        assert (answer.claim.address, answer.claim.term, owned(a)) == (A, 2, {PLACE})
        assert b.ownerships()


class TestUnknownCategory:
    async def test_is_refused_here_and_elsewhere(self, village: Village) -> None:
        a = await village.enter(A, PLACE)
        with pytest.raises(UnknownCategory):
            await a(FLAGS, StreamId("AYB-TEST-TEST-TEST", "clouds", "one"), ON, order("first"))
        with pytest.raises(UnknownCategory):
            a.watch(StreamId("AYB-TEST-TEST-TEST", "clouds", "one"), lambda _: None)


class TestKnownClaims:
    def test_keep_the_newest_and_of_equal_terms_the_first(self) -> None:
        claims, told = KnownClaims(), []
        first, rival, newer = Claim(2, b"a", A, 5), Claim(2, b"b", B, 6), Claim(3, b"c", C, 9)
        assert claims.learn(PLACE, rival)
        assert claims.learn(PLACE, first)
        assert not claims.learn(PLACE, rival)
        assert claims.of(PLACE) == first
        claims.correct(PLACE, rival, newer)
        assert claims.of(PLACE) == first
        claims.correct(PLACE, first, newer)
        assert claims.of(PLACE) == newer
        telling = KnownClaims(lambda place, claim: told.append((place, claim)))
        telling.announce(PLACE, first)
        assert told == [(PLACE, first)]
