"""Who lives, who is dead, and who is only slow."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from commands.routing import lines as module
from commands.routing.frames import Alive, AskStanding, Look, decode_request, encode_answer, encode_request
from commands.routing.lines import Dead, Lines, Overdue
from commands.routing.ports import PeerBusy, Silent, Unreachable
from tests.commands.ownership.desk import PLACE

HERE, THERE = "here.test:1/00000001", "there.test:1/00000001"
COMMAND = encode_request(AskStanding(THERE, PLACE))
SILENCE = 0.02


class Scripted:
    """`Peers` that do as they are told, one step for each request; looks are answered while `alive`."""

    def __init__(self, *steps: Callable[[], Awaitable[bytes]]) -> None:
        self.alive = True
        self.looks = 0
        self._steps = list(steps)

    async def ask(self, _address: str, request: bytes, _seconds: float) -> bytes:
        if isinstance(decode_request(request), Look):
            self.looks += 1
            if not self.alive:
                raise Unreachable("nobody")
            return encode_answer(Alive(THERE))
        return await self._steps.pop(0)()


async def answered() -> bytes:
    return b"answer"


async def broken() -> bytes:
    raise Silent("the connection broke")


async def refused() -> bytes:
    raise Unreachable("nobody listens")


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


def lines(peers: Scripted) -> Lines:
    return Lines(peers, HERE, SILENCE)


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def swept(lines: Lines, asking: "asyncio.Task[tuple[bytes, bool]]") -> None:
    """Sweep as the owners do, until the request has ended."""
    while not asking.done():
        for address in lines.suspects(asyncio.get_running_loop().time()):
            await lines.probe(address)
        await asyncio.sleep(SILENCE / 4)


class TestAsk:
    async def test_is_repeated_when_the_connection_broke_and_the_peer_lives(self) -> None:
        # The first copy may still be dealt with.
        assert await lines(Scripted(broken, answered)).ask(THERE, COMMAND, soon()) == (b"answer", True)

    async def test_ends_when_the_connection_broke_and_nobody_lives(self) -> None:
        peers = Scripted(broken)
        peers.alive = False
        with pytest.raises(Dead) as dead:
            await lines(peers).ask(THERE, COMMAND, soon())
        assert dead.value.delivered

    async def test_ends_at_once_where_nobody_listens_and_is_not_tried_again_for_a_while(self) -> None:
        street = lines(Scripted(refused))
        for _ in range(2):
            with pytest.raises(Dead) as dead:
                await street.ask(THERE, COMMAND, soon())
            assert not dead.value.delivered
        assert not street.may_live(THERE)

    async def test_of_a_silent_peer_ends_when_it_does_not_say_that_it_lives(self) -> None:
        peers = Scripted(never)
        peers.alive = False
        street = lines(peers)
        asking = asyncio.create_task(street.ask(THERE, COMMAND, soon()))
        await swept(street, asking)
        with pytest.raises(Dead) as dead:
            await asking
        assert dead.value.delivered

    async def test_of_a_slow_peer_lasts_until_its_deadline(self) -> None:
        peers = Scripted(never)
        street = lines(peers)
        asking = asyncio.create_task(street.ask(THERE, COMMAND, soon(SILENCE * 6)))
        await swept(street, asking)
        with pytest.raises(Overdue):
            await asking
        assert peers.looks >= 2
        assert street.may_live(THERE)

    async def test_is_turned_away_when_too_many_are_under_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_UNDER_WAY", 1)
        street = lines(Scripted(never))
        asking = asyncio.create_task(street.ask(THERE, COMMAND, soon()))
        await asyncio.sleep(0)
        with pytest.raises(PeerBusy):
            await street.ask(THERE, COMMAND, soon())
        asking.cancel()

    async def test_goes_nowhere_for_ourselves_and_who_had_our_port(self) -> None:
        street = lines(Scripted())
        assert [street.may_live(each) for each in (HERE, "here.test:1/00000002", "", THERE)] == [False, False, False, True]


class TestPeer:
    async def test_that_lives_again_is_asked_again(self) -> None:
        peers = Scripted(refused, answered)
        street = lines(peers)
        with pytest.raises(Dead):
            await street.ask(THERE, COMMAND, soon())
        assert await street.lives(THERE)
        assert await street.ask(THERE, COMMAND, soon()) == (b"answer", False)
