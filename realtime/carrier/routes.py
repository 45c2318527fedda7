"""Who answers a number: what a call has to know of the business, of its agent, and of the flags that are set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Route(Protocol):
    """The agent's version at the moment of the ring: the one pinned in the number's `environment`, else the live one.

    `configuration` is the version's, as its owner gave it.
    """

    @property
    def organisation_id(self) -> str: ...
    @property
    def organisation_name(self) -> str: ...
    @property
    def agent_id(self) -> str: ...
    @property
    def agent_version(self) -> str: ...
    @property
    def version_hash(self) -> str: ...
    @property
    def configuration(self) -> Mapping[str, Any]: ...
    @property
    def flags(self) -> Mapping[str, str]: ...
    @property
    def environment(self) -> str: ...


class Routes(Protocol):
    """Answered from memory: a ring waits for no database."""

    def route(self, number_ref: str) -> Route | None:
        """None: nobody owns the number, or its agent has no published version."""

    def configuration(self, organisation_id: str, agent_id: str, version_hash: str) -> Mapping[str, Any] | None:
        """Of any version; None: it is known no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOfThen:
    """A Route as it was when a call rang."""

    organisation_id: str
    organisation_name: str
    agent_id: str
    agent_version: str
    version_hash: str
    configuration: Mapping[str, Any]
    flags: Mapping[str, str]
    environment: str
