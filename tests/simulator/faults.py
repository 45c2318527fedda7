"""What goes wrong, and how it ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulator.log import MISHAPS, Partition
from tests.simulator.process import Process

if TYPE_CHECKING:
    from tests.simulator.stage import Stage


class Faults:
    """`strike` draws one fault after the other; `heal` ends them all."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self._processes = stage.processes
        self._street = stage.street
        self._cluster = stage.cluster
        self._draw = stage.draw
        # Some runs are calm, in others nothing works for long.
        self._rarely = stage.draw.choice((3, 6, 12, 30))
        self._countdown = stage.draw.randint(1, self._rarely)
        self._kinds: list[Callable[[], None]] = [
            self._mishap, self._mishap, self._mishap, self._crash, self._crash, self._pause, self._pause, self._stop, self._storm,
            self._leaderless, self._outage, self._stale, self._stale, self._cut, self._slow_reads, self._clock,
        ]  # fmt: skip
        self._kinds += [self._disk_full, self._disk_failing] if stage.disks else [self._deaf, self._turn]
        if stage.cold:
            self._kinds += [self._journal_late, self._journal_away, self._journal_damaged, self._shelf_away, self._shelf_bad]
        if stage.together:
            self._kinds += [self._wall, self._wall, self._lossy, self._slow, self._assigned_anew]

    def due(self) -> bool:
        self._countdown -= 1
        if self._countdown > 0:
            return False
        self._countdown = self._draw.randint(1, self._rarely)
        return True

    def strike(self) -> None:
        self._draw.choice(self._kinds)()

    def heal(self) -> None:
        self._cluster.heal()
        self._stage.journal.heal()
        self._stage.shelf.heal()
        self._stage.network.heal()
        for disk in self._stage.disks:
            disk.heal()
        self._street.lost_until = 0.0
        for process in self._processes:
            if not process.alive:
                process.start()
                continue
            process.log.cut_until = process.log.slow_until = 0.0
            process.loop.fuse = None
            process.loop.resume()

    def _partition(self) -> Partition:
        return self._draw.choice(list(self._cluster.partitions.values()))

    def _until(self) -> float:
        return self._cluster.scheduler.now + self._draw.choice((0.02, 0.2, 1.0, 3.0, 6.0)) * (0.5 + self._draw.random())

    def _alive(self) -> Process | None:
        alive = [process for process in self._processes if process.alive and process.loop.parked is None and process.loop.fuse is None]
        return self._draw.choice(alive) if alive else None

    def _mishap(self) -> None:
        self._partition().mishaps.append(self._draw.choice(MISHAPS))

    def _storm(self) -> None:
        partition = self._partition()
        partition.storm_until = self._until()
        self._say(f"{partition.place} takes appends as it likes until {partition.storm_until:.3f}")

    def _leaderless(self) -> None:
        partition = self._partition()
        partition.leaderless_until = self._until()
        self._say(f"{partition.place} has no leader until {partition.leaderless_until:.3f}")

    def _outage(self) -> None:
        until = self._until()
        for partition in self._cluster.partitions.values():
            partition.leaderless_until = until
        self._say(f"all brokers are away until {until:.3f}")

    def _stale(self) -> None:
        partition = self._partition()
        partition.stale_until = self._until()
        partition.stale_end = max(0, len(partition.records) - self._draw.randint(0, 12))
        self._say(f"{partition.place} seems to end at {partition.stale_end} until {partition.stale_until:.3f}")

    def _cut(self) -> None:
        if process := self._alive():
            process.log.cut_until = self._until()
            self._say(f"{process.title} does not hear the brokers until {process.log.cut_until:.3f}")

    def _slow_reads(self) -> None:
        if process := self._alive():
            process.log.slow_until = self._until()

    def _deaf(self) -> None:
        self._street.lost_until = self._until()
        self._say(f"clients and processes do not hear each other well until {self._street.lost_until:.3f}")

    def _journal_late(self) -> None:
        self._stage.journal.behind = self._draw.choice((0, 3, 10, 40))
        self._say(f"the journal is up to {self._stage.journal.behind} records behind")

    def _journal_away(self) -> None:
        self._stage.journal.away_until = self._until()
        self._say(f"the journal is away until {self._stage.journal.away_until:.3f}")

    def _journal_damaged(self) -> None:
        self._stage.journal.damaged_until = self._until()

    def _shelf_away(self) -> None:
        self._stage.shelf.away_until = self._until()

    def _shelf_bad(self) -> None:
        self._stage.shelf.bad_until = self._until()

    def _disk_full(self) -> None:
        disk = self._draw.choice(self._stage.disks)
        disk.full_until = self._until()
        self._say(f"a disk is full until {disk.full_until:.3f}")

    def _disk_failing(self) -> None:
        disk = self._draw.choice(self._stage.disks)
        disk.failing_until = self._until()
        self._say(f"a disk fails until {disk.failing_until:.3f}")

    def _wall(self) -> None:
        one, other = self._draw.sample([process.name for process in self._processes], 2)
        until = self._until()
        self._stage.network.walls[one, other] = until
        if self._draw.random() < 0.5:
            self._stage.network.walls[other, one] = until
        self._say(f"{other} does not hear {one} until {until:.3f}")

    def _lossy(self) -> None:
        self._stage.network.lossy_until = self._until()
        self._say(f"messages between processes get lost until {self._stage.network.lossy_until:.3f}")

    def _slow(self) -> None:
        self._stage.network.slow_until = self._until()

    def _assigned_anew(self) -> None:
        self._stage.coordinator.shuffle()
        self._say("partitions are assigned anew")

    def _turn(self) -> None:
        self._street.favourite = self._draw.choice(self._processes)

    def _clock(self) -> None:
        if process := self._alive():
            process.skew_ms += self._draw.choice((-60_000, -500, 500, 60_000))
            for site in process.sites():
                self._cluster.story.met("clock jump", site)

    def _crash(self) -> None:
        if process := self._alive():
            self._burn(process, "crash", lambda: self._killed(process))

    def _pause(self) -> None:
        if process := self._alive():
            self._burn(process, "pause", lambda: self._frozen(process))

    def _stop(self) -> None:
        if process := self._alive():
            self._met(process, "clean stop")
            process.stop()
            self._again(process)

    def _burn(self, process: Process, fault: str, strike: Callable[[], None]) -> None:
        """After some more turns of its loop, which may be any of its awaits."""

        def burnt() -> None:
            self._met(process, fault)
            strike()

        process.loop.burnt = burnt
        process.loop.fuse = self._draw.choice((1, self._draw.randint(1, 12), self._draw.randint(1, 120)))

    def _met(self, process: Process, fault: str) -> None:
        sites = process.sites()
        for site in sites:
            self._cluster.story.met(fault, site)
        self._say(f"{fault} of {process.title}: {'; '.join(sites)}")

    def _killed(self, process: Process) -> None:
        process.die()
        self._again(process)

    def _frozen(self, process: Process) -> None:
        loop = process.loop
        loop.pause()
        self._cluster.loop.call_at(self._until(), loop.resume)

    def _again(self, process: Process) -> None:
        """Whoever runs processes starts it anew, soon."""
        incarnation = process.incarnation

        def start() -> None:
            if process.incarnation != incarnation:
                return
            if process.alive:
                self._cluster.loop.call_later(0.5, start)
            else:
                process.start()
                self._say(f"{process.title} starts")

        self._cluster.loop.call_later(self._draw.choice((0.01, 0.5, 2.0)), start)

    def _say(self, words: str) -> None:
        self._cluster.story.tell("world", words)
