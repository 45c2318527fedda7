"""Imports every room, so that the registry knows every kind of event."""

from events import (
    agents,
    consents,
    credentials,
    environments,
    flags,
    guests,
    memberships,
    numbers,
    operations,
    organisations,
    ownership,
    people,
    upkeep,
    usage,
    webhooks,
)
from events.calls import every as calls
from events.codec import Codec
from events.registry import known_types

__all__ = [
    "agents",
    "calls",
    "consents",
    "credentials",
    "environments",
    "flags",
    "guests",
    "memberships",
    "numbers",
    "operations",
    "organisations",
    "ownership",
    "people",
    "upkeep",
    "usage",
    "webhooks",
]
# Claims and releases lie on every room's topic; guests bring topics of their own. Neither has one among ours.
ROOMS = tuple(sorted({kind.room for kind in known_types()} - {"guests", "ownership"}))


def prepared_codec() -> Codec:
    """A codec that knows all of today's schemas."""
    codec = Codec()
    codec.prepare(list(known_types()))
    return codec
