"""What a dead process left in its spool comes onto the log: all of it, once, in order, late; and what cannot be trusted stays."""

import asyncio
import dataclasses
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.calls.orders import EndCall, Witness
from commands.consents import CONSENTS, GrantConsent, RevokeConsent
from commands.rooms import DECIDERS
from commands.spool.drain import Drain, DrainPace
from commands.spool.format import Checksum, Entry, framed, payload_of, segment_header, sha
from commands.spool.spool import Spool, SpoolLimits
from commands.wire import CommandWire
from events.calls.ending import CallEnded, EndedBy, EngineFailure, Stage
from events.calls.late import LateFact
from events.calls.recording import RecordingStopped
from events.calls.thinking import ToolRequested
from events.codec import MARKER, fingerprint_of
from events.consents import ConsentRevoked, Purpose
from events.registry import type_of
from events.rooms import prepared_codec
from events.streams import StreamId
from tests.commands.spool.call import ANSWER, call, failure, order, received
from tests.commands.spool.disk import LeftDisks, MemoryDisk
from tests.given import sealed
from tests.realtime.world import MemoryLog

CODEC = prepared_codec()
WIRE = CommandWire(DECIDERS)
PACE = DrainPace(doubt_seconds=0, longest_retry_seconds=0.001, look_again_seconds=0.001)
OWNER = "1764-ab"
CONSENT = StreamId("AYB-1", "consents", "ref")
END = EndCall(reason="goodbye", ended_by=EndedBy.AGENT, stage=Stage.CONVERSATION, billable=True, duration_ms=1, recognition_ms=1)

_ROOM_BYTES = 3_000


async def left_by_a_crash(
    *commands: tuple[StreamId, object], share: float = 0.0, checksum: Checksum = sha, in_groups_of: int = 1, segment_bytes: int = 0
) -> MemoryDisk:
    """A spool, as it is found after the process kept these and died: of small segments, with room for some entries behind the schemas."""
    disk = MemoryDisk()
    if not segment_bytes:
        (alone,) = (await left_by_a_crash(commands[0], segment_bytes=1 << 20)).files.values()
        segment_bytes = len(alone) + _ROOM_BYTES
    spool = Spool(disk, WIRE, OWNER, Counter(), limits=SpoolLimits(segment_bytes=segment_bytes), checksum=checksum)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(spool.run())
        for n, (stream, command) in enumerate(commands, 1):
            assert spool.keep(stream, "MZ1", n, order(stream, n, command), command)
            if n % in_groups_of == 0:
                await spool.settled()
        await spool.settled()
        writing.cancel()
    return disk.crashed(share)


def drain(log: MemoryLog, counters: Counter[str] | None = None, checksum: Checksum = sha) -> Drain:
    return Drain(log, DECIDERS, WIRE, Counter() if counters is None else counters, pace=PACE, checksum=checksum)


def written(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, {}), value)
    return out.getvalue()


def turns(log: MemoryLog, stream: StreamId) -> list[int]:
    """The failures on a call's stream by their turn, told late or in time."""
    facts = [recorded.fact.fact if isinstance(recorded.fact, LateFact) else recorded.fact for recorded in log.streams[stream]]
    return [fact.turn for fact in facts if isinstance(fact, EngineFailure)]


class TestDrain:
    async def test_tells_what_was_witnessed_as_late_facts_in_order(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call(1), call(2))
        disk = await left_by_a_crash(*[(call(1 + n % 2), failure(n)) for n in range(40)])
        assert len(disk.files) > 1
        assert await drain(log, counters).bring_home(OWNER, disk)
        assert (turns(log, call(1)), turns(log, call(2))) == (list(range(0, 40, 2)), list(range(1, 40, 2)))
        late = [recorded.fact for recorded in log.streams[call(1)][2:]]
        assert late[:2] == [LateFact.of("MZ1", 1, failure(0).fact), LateFact.of("MZ1", 3, failure(2).fact)]
        assert disk.files == {}
        assert counters["spool-facts-drained"] == 40

    async def test_does_not_tell_again_what_the_dead_process_had_sent(self) -> None:
        log = MemoryLog()
        await received(log, call())
        await log(DECIDERS["calls"], call(), failure(1), order(call(), 1, failure(1)))
        disk = await left_by_a_crash((call(), failure(1)), (call(), failure(2)))
        assert await drain(log).bring_home(OWNER, disk)
        assert turns(log, call()) == [1, 2]

    async def test_answers_no_call_and_ends_one_that_nobody_else_has(self) -> None:
        log = MemoryLog()
        await received(log, call(), answered=False)
        disk = await left_by_a_crash((call(), ANSWER), (call(), failure(1)), (call(), END))
        assert await drain(log).bring_home(OWNER, disk)
        assert [type(fact) for fact in log.facts("calls")[1:]] == [LateFact, LateFact, LateFact, CallEnded]

    async def test_changes_nothing_of_a_call_that_another_worker_has(self) -> None:
        log = MemoryLog()
        await received(log, call(), answered=False)
        of_b = dataclasses.replace(ANSWER, stream_sid="MZ2")
        await log(DECIDERS["calls"], call(), of_b, order(call(), 1, of_b, "MZ2"))
        stopped = Witness(fact=RecordingStopped(caller_ref="ref", reason="x", at_ms=1))
        disk = await left_by_a_crash((call(), ANSWER), (call(), stopped), (call(), END))
        assert await drain(log).bring_home(OWNER, disk)
        assert [type(fact) for fact in log.facts("calls")[2:]] == [LateFact] * 3

    async def test_brings_a_withdrawal_as_it_is_and_does_not_mind_one_that_was_done(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        grant = GrantConsent(subject=sealed("+1"), purpose=Purpose.RECORDING, evidence="x")
        await log(CONSENTS, CONSENT, grant, order(CONSENT, 0, grant))
        revoke = RevokeConsent(purpose=Purpose.RECORDING, evidence="x")
        disk = await left_by_a_crash((CONSENT, revoke), (CONSENT, dataclasses.replace(revoke, evidence="y")))
        assert await drain(log, counters).bring_home(OWNER, disk)
        assert [type(fact) for fact in log.facts("consents")[1:]] == [ConsentRevoked]
        assert counters["commands-refused"] == 1

    async def test_waits_for_the_log(self) -> None:
        log = MemoryLog()
        await received(log, call())
        disk = await left_by_a_crash(*[(call(), failure(n)) for n in range(5)])
        log.away = True
        async with asyncio.TaskGroup() as tasks:
            home = tasks.create_task(drain(log).bring_home(OWNER, disk))
            await asyncio.sleep(0.01)
            assert disk.files
            log.away, log.doubtful = False, 3
        assert home.result()
        assert turns(log, call()) == [0, 1, 2, 3, 4]

    async def test_goes_on_where_a_crash_cut_it_off(self) -> None:
        log = MemoryLog()
        await received(log, call())
        disk = await left_by_a_crash(*[(call(), failure(n)) for n in range(60)])
        for most in (7, 31):
            home = asyncio.ensure_future(drain(log).bring_home(OWNER, disk))
            while len(turns(log, call())) < most:
                await asyncio.sleep(0)
            home.cancel()
            await asyncio.wait([home])
        assert await drain(log).bring_home(OWNER, disk)
        assert turns(log, call()) == list(range(60))

    async def test_counts_a_torn_tail_and_goes_on(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        found = await left_by_a_crash((call(), failure(1)), (call(), failure(2)))
        (name,) = found.files
        found.files[name] += found.files[name][-50:-20]
        assert await drain(log, counters).bring_home(OWNER, found)
        assert turns(log, call()) == [1, 2]
        assert counters["spool-tails-torn"] == 1

    async def test_stops_at_damage_keeps_the_file_and_says_so(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        disk = await left_by_a_crash(*[(call(), failure(n)) for n in range(40)])
        names = sorted(disk.files)
        disk.files[names[1]][-200] ^= 1
        for _ in range(2):
            assert not await drain(log, counters).bring_home(OWNER, disk)
        told = turns(log, call())
        assert 0 < len(told) < 40
        assert told == list(range(len(told)))
        assert sorted(disk.files) == names[1:]
        assert counters["spools-damaged"] == 2

    async def test_stops_where_a_segment_is_missing_in_the_middle(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        disk = await left_by_a_crash(*[(call(), failure(n)) for n in range(60)])
        names = sorted(disk.files)
        assert len(names) > 2
        await disk.delete(names[1])
        assert not await drain(log, counters).bring_home(OWNER, disk)
        assert counters["spools-damaged"] == 1
        assert set(names[2:]) <= set(disk.files)

    async def test_leaves_another_versions_spool_as_it_is(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        disk = await left_by_a_crash((call(), failure(1)))
        (name,) = disk.files
        disk.files[name][5] = 9
        left = dict(disk.files)
        assert not await drain(log, counters).bring_home(OWNER, disk)
        assert (disk.files, counters["spools-of-another-version"]) == (left, 1)

    async def test_leaves_a_segment_whole_that_it_does_not_understand_whole(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        disk = await left_by_a_crash((call(), failure(1)), (call(), ANSWER))
        calls = DECIDERS["calls"]

        def decide(command: Witness | EndCall, state: object) -> Sequence[object]:
            return calls.decide(command, state)

        older = CommandWire({"calls": dataclasses.replace(calls, decide=decide)})
        assert not await Drain(log, DECIDERS, older, counters, pace=PACE).bring_home(OWNER, disk)
        assert (turns(log, call()), counters["spools-of-another-version"]) == ([], 1)

    @pytest.mark.parametrize("told", [True, False])
    async def test_reads_an_older_programs_facts_by_the_schemas_in_the_spool(self, *, told: bool) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        asked = ToolRequested(turn=1, tool_use_id="t", tool="find", arguments=sealed("{}"), idempotent=True, at_ms=1)
        older = CODEC.schema_of(type_of(asked))[1]
        older = {**older, "fields": [each for each in older["fields"] if each["name"] != "filler"]}
        fact = MARKER + fingerprint_of(older) + written(older, {**dataclasses.asdict(asked), "arguments": dataclasses.asdict(sealed("{}"))})
        head = WIRE.encode("calls", failure(1))[: 10 + len("Witness")]
        command = head + written("bytes", fact) + written("string", "")
        entry = Entry(str(call()), "MZ1", 1, WIRE.encode_order(order(call(), 1, asked)), command)
        disk = MemoryDisk()
        header = segment_header(OWNER, 1, {}, [older] if told else [])
        disk.files["00000001"] = bytearray(header + framed(payload_of(entry), 1, 0, OWNER.encode()))
        home = Drain(log, DECIDERS, CommandWire(DECIDERS), counters, pace=PACE)
        assert await home.bring_home(OWNER, disk) == told
        assert [each.fact for each in log.facts("calls") if isinstance(each, LateFact)] == ([asked] if told else [])
        assert counters["spools-of-another-version"] == (not told)

    async def test_goes_on_with_the_other_spools_and_looks_again(self) -> None:
        log, counters = MemoryLog(), Counter[str]()
        await received(log, call())
        good, strange = await left_by_a_crash((call(), failure(1))), await left_by_a_crash((call(), failure(2)))
        (name,) = strange.files
        strange.files[name][5] = 9
        left = LeftDisks(a=strange)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(drain(log, counters).run(left))
            while not counters["spools-of-another-version"]:
                await asyncio.sleep(0)
            left.left = {OWNER: good}
            while not left.dismissed:
                await asyncio.sleep(0.001)
            running.cancel()
        assert left.dismissed == [OWNER]
        assert turns(log, call()) == [1]


class ForgetfulLog(MemoryLog):
    """Without the owner's deduplication."""

    async def __call__(self, *args: object, **named: object) -> object:  # type: ignore[override]
        self._answers.clear()
        return await super().__call__(*args, **named)  # type: ignore[arg-type]


async def crash_and_drain(log: MemoryLog, count: int, share: float, stop_after: int, flip: int | None) -> None:
    await received(log, call())
    disk = await left_by_a_crash(*[(call(), failure(n)) for n in range(count)], share=share, in_groups_of=1 + count % 3)
    if flip is not None:
        name = max(disk.files)
        at = len(disk.files[name]) - 1 - flip % 200
        disk.files[name][at] ^= 0x10
    log.doubtful = 2
    first = asyncio.ensure_future(drain(log).bring_home(OWNER, disk))
    while len(turns(log, call())) < stop_after and not first.done():
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    await drain(log).bring_home(OWNER, disk)


async def drained_twice(log: MemoryLog, count: int) -> None:
    """Crashed in mid-drain, and drained from the beginning."""
    await received(log, call())
    disk = await left_by_a_crash(*[(call(), failure(n)) for n in range(count)], segment_bytes=1 << 20, in_groups_of=50)
    first = asyncio.ensure_future(drain(log).bring_home(OWNER, disk))
    while len(turns(log, call())) < count - 3:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    await drain(log).bring_home(OWNER, disk)


class TestWhateverHappens:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 40), st.booleans())
    def test_nothing_is_lost_or_doubled_or_invented(self, count: int, share: float, stop_after: int, flipped: bool) -> None:
        log = MemoryLog()
        asyncio.run(crash_and_drain(log, count, share, stop_after, stop_after if flipped else None))
        told = turns(log, call())
        assert told == list(range(len(told)))
        assert flipped or len(told) == count

    def test_but_without_deduplication_it_is_doubled(self) -> None:
        # More than the decider itself remembers of what came late.
        forgetful, log = ForgetfulLog(), MemoryLog()
        asyncio.run(drained_twice(forgetful, 150))
        assert len(turns(forgetful, call())) > 150
        asyncio.run(drained_twice(log, 150))
        assert turns(log, call()) == list(range(150))

    @pytest.mark.parametrize(("checksum", "told"), [(sha, []), (lambda _: bytes(8), ["z"])])
    def test_but_without_a_checksum_something_is_told_that_nobody_witnessed(self, checksum: Checksum, told: list[str]) -> None:
        async def drained() -> list[str]:
            log = MemoryLog()
            await received(log, call())
            disk = await left_by_a_crash((call(), failure(1)), checksum=checksum)
            (name,) = disk.files
            disk.files[name] = disk.files[name].replace(b"\x02x\x02y", b"\x02x\x02z")
            await drain(log, checksum=checksum).bring_home(OWNER, disk)
            return [late.fact.reason for late in log.facts("calls") if isinstance(late, LateFact)]

        assert asyncio.run(drained()) == told
