"""The verbs that look at calls and at the log, beside a platform that runs."""

import asyncio
import dataclasses
import json
import os
import subprocess
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from commands.calls.deciding import CALLS
from commands.calls.orders import EndCall, Witness
from commands.organisations import ORGANISATIONS, CreateOrganisation, RenameOrganisation
from events.calls.ending import EndedBy, Stage
from events.streams import StreamId
from infra.adapters.signal_folder import SignalFolder
from infra.apps.installation import operator_key
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from projections.calls import CALLS as CALL_ROWS
from projections.ports import named
from realtime.ports import RecordedStretch
from tests.api.platform import Platform, Tenant, platform
from tests.api.test_calls import call_under_way, subject_of
from tests.infra.apps.command import aybiza
from tests.realtime.film import Film, filmed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A person at a terminal, and the call that they look at."""

    running: Platform
    tenant: Tenant
    call: StreamId
    state_dir: Path
    environment: dict[str, str]

    async def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(aybiza, *words, state_dir=self.state_dir, **self.environment)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    state_dir, name = tmp_path_factory.mktemp("state"), f"looking{os.urandom(8).hex()}"
    dsn = urlsplit(stack.postgres)._replace(path=f"/{name}").geturl()
    environment = {"KAFKA_BOOTSTRAP_SERVERS": stack.kafka, "DATABASE_URL": dsn, "REDIS_URL": stack.redis}
    connection = await asyncpg.connect(stack.postgres)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        key = operator_key(state_dir / "keys")
        # The verbs know no other topics than the product's own.
        async with platform(stack, dsn, state_dir, "aybiza", operator_key=key) as running, running.client(key) as operator:
            with remembered(state_dir, "api", api=running.url):
                joined = (await operator.post("/v1/organisations", json={"name": "ACME"})).json()
                async with running.client(joined["api_key"]["key"]) as api:
                    tenant = Tenant(id=joined["id"], key=joined["api_key"]["key"], api=api)
                    call = await call_under_way(running, tenant)
                    yield Desk(running=running, tenant=tenant, call=call, state_dir=state_dir, environment=environment)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


class TestCalls:
    async def test_are_listed_with_numbers_in_clear(self, desk: Desk) -> None:
        listed = await desk.types("calls", "list", "--json", "--organisation", desk.tenant.id)
        assert listed.returncode == 0, listed.stderr
        (call,) = json.loads(listed.stdout)
        assert (call["id"], call["caller"], call["status"]) == (desk.call.id, "+14155550199", "in-progress")
        assert desk.call.id in (await desk.types("calls", "list")).stdout

    async def test_are_shown_whole(self, desk: Desk) -> None:
        shown = await desk.types("calls", "show", desk.call.id)
        assert shown.returncode == 0, shown.stderr
        assert "my name is Alice" in shown.stdout
        assert "Hello Alice. [How are you?]" in shown.stdout
        told = json.loads((await desk.types("calls", "show", "last", "--json")).stdout)
        assert told["call"]["id"] == desk.call.id

    async def test_that_there_are_not_are_said_so(self, desk: Desk) -> None:
        shown = await desk.types("calls", "show", "call_nowhere")
        assert (shown.returncode, shown.stderr) == (1, "There is no call call_nowhere. Type: aybiza calls list\n")

    async def test_are_hung_up_and_listened_to(self, desk: Desk, tmp_path: Path) -> None:
        told = await desk.types("calls", "hangup", desk.call.id, "--json")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["position"].startswith("aybiza.calls.v1/")
        missing = await desk.types("calls", "listen", desk.call.id, "--to", str(tmp_path / "a.wav"))
        assert (missing.returncode, missing.stderr) == (1, f"Nothing is kept of {desk.call.id}.\n")

        stretch = RecordedStretch(from_ms=0, caller=b"\xff" * 160, agent=b"\xff" * 160)
        await desk.running.keep(desk.call, stretch, subject_of(desk.running, desk.tenant))
        over = EndCall(
            reason="operator-hung-up", ended_by=EndedBy.OPERATOR, stage=Stage.CONVERSATION, billable=True, duration_ms=20,
            recognition_ms=20, recording=desk.call.id,
        )  # fmt: skip
        committed = await desk.running.do(CALLS, desk.call, over)
        assert await desk.running.ports.rows.wait_for([committed.position], 120)
        heard = await desk.types("calls", "listen", desk.call.id, "--to", str(tmp_path / "a.wav"), "--reason", "a complaint")
        assert heard.returncode == 0, heard.stderr
        with wave.open(str(tmp_path / "a.wav")) as sound:
            assert (sound.getnchannels(), sound.getnframes()) == (2, 160)
        shown = await desk.types("calls", "show", desk.call.id)
        assert "operator listened: a complaint" in shown.stdout


class TestRunningAgain:
    """After the call was hung up: what is kept of a call, and what the log says of it, is there for as long as its caller's key."""

    async def test_tells_whether_a_call_does_what_it_did(self, desk: Desk) -> None:
        film = await filmed_at(desk)
        again = await desk.types("calls", "rerun", film.stream.id)
        assert again.returncode == 0, again.stderr
        assert "identical" in again.stdout
        (told,) = json.loads((await desk.types("calls", "rerun", film.stream.id, "--json")).stdout)
        assert (told["identical"], told["steps"], told["proven_stretches"], told["run"]) == (True, len(film.signals), 1, "MZ1")

        supposed = await desk.types("calls", "rerun", film.stream.id, "--with", "wording.how_can_i_help=What is it?")
        assert supposed.returncode == 0, supposed.stderr
        assert "the agent says “What is it?”" in supposed.stdout
        misspelt = await desk.types("calls", "rerun", film.stream.id, "--with", "wording.help=What is it?")
        assert (misspelt.returncode, misspelt.stderr.partition(";")[0]) == (1, "wording.help cannot be changed")

    async def test_finds_what_was_altered(self, desk: Desk) -> None:
        film = await filmed_at(desk)
        (name,) = film.store.objects
        store, content = SignalFolder(desk.state_dir / "signals"), film.store.objects[name]
        await store.put(name, content[:-1] + bytes([content[-1] ^ 1]))
        again = await desk.types("calls", "rerun", film.stream.id)
        assert again.returncode == 1
        assert "is not the one that the log proves" in again.stdout
        every = await desk.types("calls", "rerun", "--all")
        assert every.returncode == 1
        assert film.stream.id in every.stdout


async def filmed_at(desk: Desk) -> Film:
    """A call that is kept where the verb looks, and told of on its stream."""
    stream = await call_under_way(desk.running, desk.tenant)
    film = Film(filmed(desk.running.key_ring), desk.running.key_ring, stream=stream)
    film.scene.agreed().says("goodbye").hangs_up()
    await film.keeper.close()
    for name, content in film.store.objects.items():
        await SignalFolder(desk.state_dir / "signals").put(name, content)
    for fact in film.told:
        committed = await desk.running.do(CALLS, stream, Witness(fact=fact))
        assert await desk.running.ports.rows.wait_for([committed.position], 120)
    return film


class TestEvents:
    async def test_are_told_from_the_log(self, desk: Desk) -> None:
        told = await desk.types("events", "tail", "--no-follow", "--json", "-n", "1000", "--room", "calls")
        assert told.returncode == 0, told.stderr
        facts = [fact for fact in map(json.loads, told.stdout.splitlines()) if fact["stream"] == str(desk.call)]
        assert [fact["type"] for fact in facts][:3] == ["call-received.v1", "call-answered.v1", "caller-turn.v1"]
        assert facts[2]["data"]["words"] == "my name is Alice"

    async def test_are_shown_by_stream_and_by_id(self, desk: Desk) -> None:
        stream = await desk.types("events", "show", desk.call.id)
        assert "caller-turn.v1" in stream.stdout
        assert "words = my name is Alice" in stream.stdout
        first = json.loads((await desk.types("events", "show", str(desk.call), "--json")).stdout.splitlines()[0])
        single = await desk.types("events", "show", first["event_id"], "--json")
        assert json.loads(single.stdout) == first

    async def test_that_there_are_not_are_said_so(self, desk: Desk) -> None:
        nothing = await desk.types("events", "show", "nobody")
        assert (nothing.returncode, nothing.stderr) == (1, "The log has nothing of nobody.\n")
        room = await desk.types("events", "tail", "--room", "kitchen")
        assert room.returncode == 1
        assert "There is no room kitchen" in room.stderr


class TestProjections:
    async def test_are_built_beside_and_switched_to_by_one_command(self, desk: Desk) -> None:
        built = await desk.types("rebuild", "flags", "--beside", "--switch", "--because", "a test")
        assert built.returncode == 0, built.stderr
        assert "Readers see flags.v1.b2; flags.v1 is kept warm." in built.stdout
        listed = {each["projection"]: each for each in json.loads((await desk.types("projections", "list", "--json")).stdout)}
        assert (listed["flags.v1.b2"]["state"], listed["flags.v1"]["state"], listed[named(CALL_ROWS)]["state"]) == ("live", "warm", "live")
        assert listed["journal.v1"]["bytes"] > listed["flags.v1"]["bytes"] > 0
        compared = await desk.types("projections", "compare", "flags")
        assert (compared.returncode, "No row differs." in compared.stdout) == (0, True), compared.stderr
        back = await desk.types("projections", "rollback", "flags", "--because", "a test")
        assert "Readers see flags.v1; flags.v1.b2 is kept warm." in back.stdout
        refused = await desk.types("projections", "drop", "flags.v1", "--because", "a test")
        assert (refused.returncode, "Switch to another build first" in refused.stderr) == (1, True)


class TestWithoutAStack:
    @pytest.mark.parametrize("words", [("calls", "list"), ("calls", "show", "last"), ("events", "tail"), ("events", "show", "x")])
    async def test_say_what_to_type(self, tmp_path: Path, words: tuple[str, ...]) -> None:
        said = await asyncio.to_thread(aybiza, *words, state_dir=tmp_path)
        assert said.returncode == 1
        assert "Type: aybiza up" in said.stderr
        assert "Traceback" not in said.stderr


class TestParked:
    async def test_facts_are_shown_left_out_on_order_and_folded_on(self, desk: Desk) -> None:
        """A name that the database can never take: what follows on its stream waits, and nobody else does."""
        organisation = f"AYB-{int.from_bytes(os.urandom(6), 'big'):015d}"
        sick = StreamId(organisation, "organisations", organisation)
        await desk.running.do(ORGANISATIONS, sick, CreateOrganisation(name="a zero \0 byte", region="us"))
        committed = await desk.running.do(ORGANISATIONS, sick, RenameOrganisation(name="another \0"))
        assert (await desk.running.ports.rows.wait_for([committed.position], 120)) is True
        listed = json.loads((await desk.types("parked", "list", "--json")).stdout)
        assert [(each["projection"], each["stream"], each["facts"]) for each in listed] == [("organisations.v4", str(sick), 2)]
        assert "0x00" in listed[0]["reason"]
        shown = json.loads((await desk.types("parked", "show", "organisations.v4", str(sick), "--json")).stdout)
        kinds = [("organisation-created.v1", False), ("organisation-renamed.v1", True)]
        assert [(each["ce_type"], each["behind"]) for each in shown] == kinds

        tried = await desk.types("parked", "redrive", "organisations.v4", str(sick), "--because", "to see")
        assert (tried.returncode, "2 facts are parked again" in tried.stderr) == (1, True)
        strange = await desk.types("parked", "discard", "organisations.v4", str(sick), "999999", "--because", "to see")
        assert (strange.returncode, "Nothing of" in strange.stderr) == (1, True)
        # Without its creation the renaming has nothing to rename: that is said, and the next order leaves it out as well.
        offsets = [str(each["offset"]) for each in shown]
        first = await desk.types("parked", "discard", "organisations.v4", str(sick), offsets[0], "--because", "never meant")
        assert (first.returncode, "1 facts are parked again" in first.stderr) == (1, True)
        second = await desk.types("parked", "discard", "organisations.v4", str(sick), offsets[1], "--because", "never meant")
        assert (second.returncode, second.stdout.strip()) == (0, "Nothing of it is parked any more.")
        assert (await desk.types("parked", "list")).stdout.strip() == "Nothing is parked."
        orders = (await desk.types("events", "show", "platform/upkeep/organisations.v4", "--json")).stdout.splitlines()
        told = [each["because"] for each in map(_fact_of, orders) if each["stream"] == str(sick)]
        assert told == ["to see", "never meant", "never meant"]


def _fact_of(line: str) -> dict[str, str]:
    fact: dict[str, str] = json.loads(line)["data"]
    return fact
