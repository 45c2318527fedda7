"""Brings home what dead processes left in their spools: every command in order, once, as a late fact; what cannot be trusted stays."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from commands.decider import CommandRefused, Decider
from commands.dispatch import CommandIdReused, CommitInDoubt, CommitTooLarge, Dispatch, LogUnavailable, Order
from commands.spool.format import Checksum, Entry, Segment, SpoolOfAnotherVersion, read_segment, sha
from commands.spool.late import as_late
from commands.spool.ports import LeftSpools, SpoolDisk
from commands.wire import BrokenCommand, CommandWire, UnknownCommand
from events.streams import InvalidStreamName, StreamId

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPace:
    """`streams` at a time; a doubtful or refused log is asked again after these times, the machine's spools looked for after the last."""

    streams: int = 32
    doubt_seconds: float = 0.2
    longest_retry_seconds: float = 2.0
    look_again_seconds: float = 30.0


class _Due(NamedTuple):
    stream: StreamId
    command: object
    order: Order


class SpoolDamaged(Exception):
    """A spool's bytes are not those that were kept. What lies before them is on the log; the rest waits for a person."""


class Drain:
    """Sends with the ids that the dead process gave: what it had sent already is answered as a repeat.

    `counters` take `spools-drained`, `spool-facts-drained`, `spool-tails-torn`, and as alarms `spools-damaged`,
    `spools-of-another-version`, `spools-unreadable` and `spool-facts-given-up`.
    """

    def __init__(
        self, dispatch: Dispatch, deciders: Mapping[str, Decider[Any, Any, Any]], wire: CommandWire, counters: Counter[str], *,
        pace: DrainPace | None = None, checksum: Checksum = sha,
    ) -> None:  # fmt: skip
        self._dispatch, self._deciders, self._wire, self._counters = dispatch, deciders, wire, counters
        self._pace, self._checksum = pace or DrainPace(), checksum
        self._learnt = wire.schemas()

    async def run(self, left: LeftSpools) -> None:
        """Bring home what is found, and look again, until cancelled."""
        while True:
            try:
                for incarnation, disk in await left.adopt():
                    if await self.bring_home(incarnation, disk):
                        await left.dismiss(incarnation)
            except OSError as cause:
                self._counters["spools-unreadable"] += 1
                log.exception("spools cannot be looked for", errno=cause.errno)
            await asyncio.sleep(self._pace.look_again_seconds)

    async def bring_home(self, incarnation: str, disk: SpoolDisk) -> bool:
        """Whether the spool is empty now. What is left after an alarm is not touched, and is tried again by the next process."""
        try:
            await self._empty(incarnation, disk)
        except SpoolOfAnotherVersion as cause:
            self._counters["spools-of-another-version"] += 1
            log.exception("a spool is left as it is", incarnation=incarnation, why=str(cause))
        except SpoolDamaged as cause:
            self._counters["spools-damaged"] += 1
            log.exception("a spool is damaged", incarnation=incarnation, why=str(cause))
        except OSError as cause:
            self._counters["spools-unreadable"] += 1
            log.exception("a spool cannot be read", incarnation=incarnation, errno=cause.errno)
        else:
            self._counters["spools-drained"] += 1
            return True
        return False

    async def _empty(self, incarnation: str, disk: SpoolDisk) -> None:
        names = await disk.segments()
        expected = 0
        following = await self._read(disk, names[0], incarnation) if names else None
        for at, name in enumerate(names):
            segment = following
            following = await self._read(disk, names[at + 1], incarnation) if at + 1 < len(names) else None
            if segment is None:
                raise AssertionError("every name has a segment")
            if expected and segment.first > expected:
                raise SpoolDamaged(
                    f"between entry {expected - 1} and segment {name}, which begins with entry {segment.first}, entries are missing"
                )
            await self._send([entry for number, entry in segment.entries.items() if number >= expected], segment)
            expected = max(expected, segment.next) if segment.first else expected
            if segment.damaged_at is not None:
                raise SpoolDamaged(
                    f"segment {name} is broken at byte {segment.damaged_at}; restore the file, or move it away to give up the rest"
                )
            if following is not None and following.first > expected > 0:
                raise SpoolDamaged(f"segment {name} ends before entry {expected}, and the next begins with entry {following.first}")
            if segment.torn_bytes:
                self._counters["spool-tails-torn"] += 1
                log.warning("a crash cut off the end of a spool", incarnation=incarnation, segment=name, bytes=segment.torn_bytes)
            await disk.delete(name)

    async def _read(self, disk: SpoolDisk, name: str, incarnation: str) -> Segment:
        return read_segment(await disk.read(name), incarnation, self._checksum)

    async def _send(self, entries: Sequence[Entry], segment: Segment) -> None:
        """Streams side by side, each in its order. Nothing is sent of a segment that is not understood whole."""
        if segment.schemas != self._learnt:
            self._wire.learn(segment.schemas)
            self._learnt = segment.schemas
        by_stream: dict[str, list[_Due]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(self._due(entry))
        places = asyncio.Semaphore(self._pace.streams)

        async def send_all(dues: Sequence[_Due]) -> None:
            async with places:
                for due in dues:
                    await self._send_one(due)

        async with asyncio.TaskGroup() as tasks:
            for stream, dues in by_stream.items():
                tasks.create_task(send_all(dues), name=f"bring home {stream}")

    def _due(self, entry: Entry) -> _Due:
        try:
            stream = StreamId.parse(entry.stream)
            command = self._wire.decode(stream.category, entry.command)
            return _Due(stream, as_late(command, entry.incarnation, entry.sequence), self._wire.decode_order(entry.order))
        except UnknownCommand as cause:
            raise SpoolOfAnotherVersion(str(cause)) from cause
        except (BrokenCommand, InvalidStreamName) as cause:
            raise SpoolDamaged(
                f"an entry of {entry.stream} cannot be read; move the spool's folder away to give up what it holds"
            ) from cause

    async def _send_one(self, due: _Due) -> None:
        while True:
            try:
                await self._dispatch(self._deciders[due.stream.category], due.stream, due.command, due.order)
            except LogUnavailable as away:
                await asyncio.sleep(min(away.retry_after_ms / 1000, self._pace.longest_retry_seconds))
            except CommitInDoubt:
                await asyncio.sleep(self._pace.doubt_seconds)
            except (CommandRefused, CommitTooLarge, CommandIdReused) as cause:
                # A withdrawal of what is not held any more is no loss; all else is, and is seen.
                given_up = not isinstance(cause, CommandRefused) or cause.code == "not-found"
                self._counters["spool-facts-given-up" if given_up else "commands-refused"] += 1
                log.warning("a spooled command was refused", stream=str(due.stream), command=type(due.command).__name__,
                            cause=type(cause).__name__)  # fmt: skip
                return
            else:
                self._counters["spool-facts-drained"] += 1
                return
