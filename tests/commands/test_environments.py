"""Which version of which agent answers in an environment."""

from commands.agent_configuration import version_hash
from commands.decider import NotFound
from commands.environments import (
    ENVIRONMENTS,
    AnotherConfiguration,
    CloseEnvironment,
    ConfirmEnvironment,
    OpenEnvironment,
    Pin,
    PinAgents,
    UnpinAgent,
)
from events.environments import AgentPinned, AgentUnpinned, EnvironmentClosed, EnvironmentOpened
from tests.given import given

OPENED = EnvironmentOpened(description="Where we try.")
TEXT = '{"name":"Ann"}'
PINNED = AgentPinned(agent_id="agt_1", version_hash=version_hash(TEXT), label="1", configuration=TEXT)
PIN = Pin(agent_id="agt_1", version_hash=version_hash(TEXT), label="1", configuration=TEXT)


class TestOpenEnvironment:
    def test_is_a_fact_once(self) -> None:
        given(ENVIRONMENTS).when(OpenEnvironment(description="Where we try.")).then(OPENED)
        given(ENVIRONMENTS, OPENED).when(OpenEnvironment(description="Where we try.")).then()

    def test_keeps_the_pins_when_it_is_described_anew(self) -> None:
        given(ENVIRONMENTS, OPENED, PINNED, EnvironmentOpened(description="")).when(PinAgents(pins=(PIN,))).then()


class TestPinAgents:
    def test_is_a_fact_for_each_agent_that_is_not_pinned_so(self) -> None:
        other = Pin(agent_id="agt_2", version_hash=PIN.version_hash, label="1", configuration=TEXT)
        fact = AgentPinned(agent_id="agt_2", version_hash=PIN.version_hash, label="1", configuration=TEXT)
        given(ENVIRONMENTS, OPENED, PINNED).when(PinAgents(pins=(PIN, other))).then(fact)

    def test_is_refused_for_a_configuration_that_is_not_the_versions(self) -> None:
        forged = Pin(agent_id="agt_1", version_hash=PIN.version_hash, label="1", configuration='{"name":"Eve"}')
        given(ENVIRONMENTS, OPENED).when(PinAgents(pins=(forged,))).then_refused(AnotherConfiguration)

    def test_finds_no_environment_that_was_never_opened_or_is_closed(self) -> None:
        given(ENVIRONMENTS).when(PinAgents(pins=(PIN,))).then_refused(NotFound)
        given(ENVIRONMENTS, OPENED, EnvironmentClosed()).when(PinAgents(pins=(PIN,))).then_refused(NotFound)


class TestUnpinAgent:
    def test_is_a_fact_where_it_is_pinned(self) -> None:
        given(ENVIRONMENTS, OPENED, PINNED).when(UnpinAgent(agent_id="agt_1")).then(AgentUnpinned(agent_id="agt_1"))
        given(ENVIRONMENTS, OPENED).when(UnpinAgent(agent_id="agt_1")).then_refused(NotFound)


class TestCloseEnvironment:
    def test_takes_the_pins_along(self) -> None:
        given(ENVIRONMENTS, OPENED, PINNED).when(CloseEnvironment()).then(EnvironmentClosed())
        given(ENVIRONMENTS, OPENED, PINNED, EnvironmentClosed(), OPENED).when(PinAgents(pins=(PIN,))).then(PINNED)


class TestConfirmEnvironment:
    def test_changes_nothing(self) -> None:
        given(ENVIRONMENTS, OPENED).when(ConfirmEnvironment()).then()
        given(ENVIRONMENTS).when(ConfirmEnvironment()).then_refused(NotFound)
