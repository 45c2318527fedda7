"""Who answers which number and which keys are good, folded in memory: to answer a ring and check a key no database is asked."""

import asyncio
import functools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from events.positions import Position
from events.records import RawRecord
from events.streams import PLATFORM, topic_of
from projections.access import ACCESS, Access
from projections.agents import AGENT_VERSIONS, AGENTS, Agent, AgentVersion
from projections.environments import ENVIRONMENT_PINS, ENVIRONMENTS, Environment, EnvironmentPin
from projections.flags import FLAGS, Flag
from projections.numbers import NUMBERS, Number
from projections.organisations import ORGANISATIONS, Organisation
from projections.ports import Checkpoint, LogReader, Mark, Opened, Place, Projection, Sick, TopicOf, Writes, named
from projections.runner import Runner
from projections.table import Key, Table

ANSWERING: tuple[Table[Any], ...] = (ORGANISATIONS, AGENTS, NUMBERS, FLAGS, ENVIRONMENTS)
"""What a process follows that answers calls."""
LETTING_IN: tuple[Table[Any], ...] = (ORGANISATIONS, *ACCESS)
"""What a process follows that lets people in: of agents and flags it is asked too, but it answers that from the tables."""
WITH_ACCESS: tuple[Table[Any], ...] = (*ANSWERING, *ACCESS)
Spoken: TypeAlias = tuple[str, str, str]
"""What an agent speaks by: a version's label, its hash and its configuration."""
# Of each agent: a call under way goes on with the version it rang with, whatever was published since.
_VERSIONS_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who answers a number: a version of its agent, and what was switched on at that moment (flag to variant).

    It is the version that is pinned in the number's `environment`, else the live one.
    """

    organisation_id: str
    organisation_name: str
    agent_id: str
    agent_version: str
    version_hash: str
    configuration: Mapping[str, Any]
    flags: Mapping[str, str]
    environment: str = ""


class KnownKey(NamedTuple):
    """An API key that was issued and not revoked. `secret_hash` is the SHA-256 of its secret; no `scopes`: it may everything.

    `person_id`: whose own it is; empty: the organisation's.
    """

    organisation_id: str
    secret_hash: bytes
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    api_version: str = ""
    person_id: str = ""


class Directory:
    """A store in memory (`projections.ports.Store`) that answers at once. `follow` keeps it true."""

    def __init__(self, *, topic_of: TopicOf = topic_of, followed: tuple[Table[Any], ...] = ANSWERING) -> None:
        self.topic_of = topic_of
        self.followed = followed
        self.access = Access()
        self.caught_up = asyncio.Event()
        self._rows: dict[Table[Any], dict[Key, Any]] = {table: {} for table in followed}
        self._versions: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        self._pins: dict[tuple[str, str, str], EnvironmentPin] = {}
        self._keys: dict[str, KnownKey] = {}
        self._flags: defaultdict[str, dict[str, Flag]] = defaultdict(dict)
        self._checkpoints: dict[Mark, Checkpoint] = {}
        self._reached: dict[tuple[str, int], int] = {}
        self._goal: Mapping[tuple[str, int], int] = {}
        self._moved = asyncio.Condition()

    def route(self, number_ref: str) -> Route | None:
        """Who answers a number, by its keyed hash. None: nobody holds it, or its agent has no version yet."""
        number: Number | None = self._rows[NUMBERS].get((PLATFORM, number_ref))
        if number is None:
            return None
        organisation_id = number.organisation_id
        organisation: Organisation | None = self._rows[ORGANISATIONS].get((organisation_id, organisation_id))
        agent: Agent | None = self._rows[AGENTS].get((organisation_id, number.agent_id))
        if organisation is None or agent is None:
            return None
        spoken = self._pinned(organisation_id, number.environment, agent.id) or _live(agent)
        if spoken is None:
            return None
        label, version_hash, configuration = spoken
        return Route(
            organisation_id=organisation_id, organisation_name=organisation.name, agent_id=agent.id, agent_version=label,
            version_hash=version_hash, configuration=_parsed(configuration), flags=self.flags(organisation_id),
            environment=number.environment,
        )  # fmt: skip

    def _pinned(self, organisation_id: str, environment: str, agent_id: str) -> Spoken | None:
        row: Environment | None = self._rows[ENVIRONMENTS].get((organisation_id, environment))
        wanted = next((pin.version_hash for pin in row.pins if pin.agent_id == agent_id), None) if row else None
        pin = self._pins.get((organisation_id, environment, agent_id))
        if wanted is None or pin is None or pin.version_hash != wanted or pin.configuration is None:
            return None
        return pin.label or "", wanted, pin.configuration

    def configurations(self) -> Mapping[str, Mapping[str, Any]]:
        """The live versions of all agents and those that are pinned, by their hashes."""
        agents: Iterable[Agent] = self._rows[AGENTS].values()
        pinned = [spoken for place in self._pins if (spoken := self._pinned(*place)) is not None]
        live = [spoken for agent in agents if (spoken := _live(agent)) is not None]
        return {version_hash: _parsed(configuration) for _, version_hash, configuration in (*live, *pinned)}

    def configuration(self, organisation_id: str, agent_id: str, version_hash: str) -> Mapping[str, Any] | None:
        """A version's, live or not; None for one that is neither pinned nor among the agent's latest."""
        pins = (pin for (tenant, _, agent), pin in self._pins.items() if (tenant, agent) == (organisation_id, agent_id))
        pinned = next((pin.configuration for pin in pins if pin.version_hash == version_hash), None)
        found = self._versions.get((organisation_id, agent_id), {}).get(version_hash) or pinned
        return None if found is None else _parsed(found)

    def routes(self) -> Sequence[Route]:
        """Who answers, number by number, as it is now."""
        found = [self.route(number_ref) for _, number_ref in self._rows[NUMBERS]]
        return [route for route in found if route is not None]

    async def moved(self) -> None:
        """Returns when something was read since it was asked."""
        async with self._moved:
            await self._moved.wait()

    def holder(self, number_ref: str) -> str | None:
        """The organisation that holds a number, whether or not anybody answers it."""
        number: Number | None = self._rows[NUMBERS].get((PLATFORM, number_ref))
        return None if number is None else number.organisation_id

    def flags(self, organisation_id: str) -> Mapping[str, str]:
        """An organisation's flags that are on, each with its variant."""
        return {name: flag.variant for name, flag in sorted(self._flags.get(organisation_id, {}).items()) if flag.enabled}

    def api_key(self, key_id: str) -> KnownKey | None:
        """A key that is issued and not revoked (it may have expired); None for every other."""
        return self._keys.get(key_id)

    def position(self) -> Mapping[tuple[str, int], int]:
        """The next offset by (topic, partition): up to there, everything is in the answers."""
        return dict(self._reached)

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        """Wait until the positions on followed topics are in the answers; False when that was not in time."""
        topics = {self.topic_of(table.room) for table in self.followed}
        wanted = [each for each in positions if each.topic in topics]

        def seen() -> bool:
            return all(self._reached.get((each.topic, each.partition), 0) > each.offset for each in wanted)

        try:
            async with asyncio.timeout(timeout_seconds), self._moved:
                await self._moved.wait_for(seen)
        except TimeoutError:
            return False
        return True

    def must_reach(self, ends: Mapping[tuple[str, int], int]) -> None:
        """`caught_up` is set once all of this is in the answers."""
        self._goal = ends
        self._check_goal()

    async def open(self, marks: Collection[tuple[Projection, Place]], held: Mapping[Mark, int] | None = None) -> Opened:
        for projection, place in marks:
            self._checkpoints.setdefault((named(projection), place), Checkpoint())
        return Opened(checkpoints=dict(self._checkpoints), epochs=dict.fromkeys(self._checkpoints, 1), parked={})

    async def rows(self, table: Table[Any], keys: Collection[Key]) -> Mapping[Key, Any]:
        rows = self._rows[table]
        return {key: rows[key] for key in keys if key in rows}

    async def prepare(self, journal: Sequence[RawRecord]) -> None:
        """Here is no journal."""

    async def write(self, writes: Writes) -> None:
        for table, changed in writes.rows.items():
            for key, folded in changed.items():
                self._put(table, key, folded.row)
        for entry in writes.entries.get(AGENT_VERSIONS, ()):
            self._keep(entry)
        for pin in writes.entries.get(ENVIRONMENT_PINS, ()):
            self._pins[pin.tenant, pin.id, pin.agent_id] = pin
        for step in writes.advances:
            self._checkpoints[step.projection, step.place] = step.reached
            self._reached[step.place] = step.reached.next_offset
        self._check_goal()
        async with self._moved:
            self._moved.notify_all()

    async def sick(self, marks: Collection[Mark]) -> Sequence[Sick]:
        """What could not be taken is tried again by the next process."""
        return ()

    async def refused(self, writes: Writes) -> Mapping[tuple[str, Key], str]:
        return {}

    def _put(self, table: Table[Any], key: Key, row: Any) -> None:
        before = self._rows[table].pop(key, None)
        if row is not None:
            self._rows[table][key] = row
        self.access.put(table, key, row)
        if table is FLAGS:
            self._flags[key[0]].pop(key[1], None)
            if row is not None:
                self._flags[key[0]][key[1]] = row
        elif table is ORGANISATIONS:
            for each in before.keys if before else ():
                self._keys.pop(each.key_id, None)
            for each in row.keys if row else ():
                if each.revoked_at is None:
                    self._keys[each.key_id] = KnownKey(
                        row.id, each.secret_hash, each.scopes, each.expires_at, each.api_version, each.person_id
                    )

    def _keep(self, entry: AgentVersion) -> None:
        """The latest come last, and a version that is published again is the latest."""
        known = self._versions[entry.tenant, entry.id]
        known.pop(entry.version_hash, None)
        known[entry.version_hash] = entry.configuration
        while len(known) > _VERSIONS_KEPT:
            del known[next(iter(known))]

    def _check_goal(self) -> None:
        if not self.caught_up.is_set() and all(self._reached.get(place, 0) >= end for place, end in self._goal.items()):
            self.caught_up.set()


async def follow(reader: LogReader, directory: Directory) -> None:
    """Keep a directory true until cancelled. It is ready to be asked once `caught_up` is set."""
    entries = (AGENT_VERSIONS, ENVIRONMENT_PINS) if AGENTS in directory.followed else ()
    runner = Runner(reader, directory, (*directory.followed, *entries), topic_of=directory.topic_of)
    directory.must_reach(await reader.end_offsets(runner.topics))
    await runner.run()


def _live(agent: Agent) -> Spoken | None:
    return None if agent.live is None else (agent.live.label, agent.live.version_hash, agent.live.configuration)


@functools.lru_cache(maxsize=1024)
def _parsed(configuration: str) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = json.loads(configuration)
    return parsed
