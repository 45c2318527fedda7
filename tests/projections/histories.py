"""Random histories of several streams, that begin as histories begin."""

import random
from collections.abc import Sequence
from decimal import Decimal

from events.agents import AgentCreated, AgentVersionPublished
from events.calls.ending import FactsLost
from events.calls.recording import RecordingStarted
from events.calls.thinking import ModelChosen
from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.environments import AgentPinned, AgentUnpinned, EnvironmentOpened
from events.flags import FlagRemoved, FlagSet
from events.numbers import NumberAssigned, NumberReleased
from events.organisations import ApiKeyIssued, ApiKeyRevoked, OrganisationCreated, OrganisationRenamed
from events.registry import Fact
from events.sealing import Sealed
from events.streams import PLATFORM, StreamId
from events.usage import Meter, UsageLine, UsageRecorded
from tests.projections.facts import CALLER_REF, agent_turn, answered, caller_turn, ended, received, sealed
from tests.projections.told import AYB

Written = tuple[StreamId, tuple[Fact, ...]]


def history(seed: int, commits: int = 60) -> Sequence[Written]:
    """Commits in the order in which they were appended; each stream's own order is one that could have been."""
    draw = random.Random(seed)
    begun: set[StreamId] = set()
    written = []
    for _ in range(commits):
        stream, first, then = draw.choice(_STREAMS)
        if stream in begun:
            written.append((stream, tuple(draw.choice(then) for _ in range(draw.randint(1, 3)))))
        else:
            begun.add(stream)
            written.append((stream, (first,)))
    return written


_LINE = UsageLine(turn=1, meter=Meter.SYNTHESIS_CHARACTERS, provider="p", quantity=Decimal(20), embedded=True, estimated=False)
_STREAMS: list[tuple[StreamId, Fact, list[Fact]]] = [
    (
        StreamId(AYB, "organisations", AYB),
        OrganisationCreated(name="Bella Vista", region="ca"),
        [OrganisationRenamed(name="B"), ApiKeyIssued(key_id="k", label="l", secret_hash=b"h"), ApiKeyRevoked(key_id="k")],
    ),
    (
        StreamId(AYB, "agents", "agt_1"),
        AgentCreated(name="Front desk"),
        [AgentVersionPublished(version_hash=str(n) * 64, label=str(n), configuration=f'{{"n":{n}}}') for n in range(3)],
    ),
    *(
        (
            StreamId(AYB, "calls", f"call_{n}"),
            received(),
            [
                answered(), caller_turn(1), agent_turn(1), FactsLost(count=n), ended(),
                ModelChosen(turn=1, rule="r", logical="l", model="m"),
                RecordingStarted(caller_ref=CALLER_REF, consent_version=1, at_ms=1),
            ],
        )
        for n in range(3)
    ),
    (
        StreamId(AYB, "consents", CALLER_REF),
        ConsentGranted(subject=sealed("+1"), purpose=Purpose.RECORDING, evidence="e"),
        [
            ConsentRevoked(purpose=Purpose.RECORDING, evidence="e"),
            ConsentGranted(subject=sealed("+1"), purpose=Purpose.SERVICE_CALLS, evidence="e"),
        ],
    ),
    (
        StreamId(PLATFORM, "numbers", "n" * 32),
        NumberAssigned(organisation_id=AYB, agent_id="agt_1", number=Sealed(AYB, b"box")),
        [NumberReleased(organisation_id=AYB), NumberAssigned(organisation_id="AYB-2", agent_id="agt_2", number=Sealed("AYB-2", b"box"))],
    ),
    (StreamId(AYB, "flags", "greeting"), FlagSet(enabled=True, variant="v"), [FlagRemoved(), FlagSet(enabled=False, variant="w")]),
    (
        StreamId(AYB, "environments", "staging"),
        EnvironmentOpened(description="d"),
        [
            *(AgentPinned(agent_id=f"agt_{n}", version_hash="1" * 64, label="1", configuration="{}") for n in range(2)),
            AgentUnpinned(agent_id="agt_1"), EnvironmentOpened(description="e"),
        ],
    ),
    (StreamId(AYB, "usage", "call_1"), UsageRecorded(call_id="call_1", lines=(_LINE,)), [UsageRecorded(call_id="call_1", lines=())]),
]  # fmt: skip
