"""What a key may: a resource and whether to read or to change it, found from the request itself, so that no route can forget to ask."""

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator

RESOURCES = (
    "access",
    "agents",
    "analytics",
    "api-keys",
    "calls",
    "consents",
    "environments",
    "events",
    "exports",
    "flags",
    "invitations",
    "lookup",
    "memberships",
    "numbers",
    "oauth-clients",
    "operations",
    "organisations",
    "people",
    "roles",
    "upkeep",
    "usage",
    "webhooks",
)
SCOPES = frozenset(f"{resource}:{verb}" for resource in RESOURCES for verb in ("read", "write"))
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_API_KEYS = re.compile(r"/v1/organisations/[^/]+/api-keys(/|\Z)")


def is_reading(method: str) -> bool:
    """Whether a request changes nothing."""
    return method in _READING


def needed(method: str, path: str) -> str:
    """The scope that a request below `/v1` needs, such as `calls:read`."""
    resource = "api-keys" if _API_KEYS.match(path) else path.removeprefix("/v1").strip("/").partition("/")[0]
    return f"{resource}:{'read' if is_reading(method) else 'write'}"


def thing(path: str) -> str | None:
    """The id of what a request is about, where its address names one."""
    parts = path.removeprefix("/v1").strip("/").split("/")
    at = 3 if _API_KEYS.match(path) else 1
    return parts[at] if len(parts) > at else None


def allows(scopes: Collection[str], scope: str) -> bool:
    """Whether a key with these scopes may; without any it may everything. Who may change a thing may read it."""
    return not scopes or scope in scopes or scope.removesuffix(":read") + ":write" in scopes


def covers(scopes: Collection[str], others: Collection[str]) -> bool:
    """Whether a key with these scopes may all that one with the others may."""
    return not scopes or (bool(others) and all(allows(scopes, each) for each in others))


def _known(scopes: tuple[str, ...]) -> tuple[str, ...]:
    strange = sorted(set(scopes) - SCOPES)
    if strange:
        raise ValueError(f"there is no scope {strange[0]}; there are {', '.join(sorted(SCOPES))}")
    return tuple(sorted(set(scopes)))


Scopes = Annotated[tuple[str, ...], AfterValidator(_known)]
"""Scopes on the wire: each once, in order."""
