"""Facts about feature flags: switches of a business, read at the start of each call."""

from dataclasses import dataclass

from events.registry import event


@event("flag-set", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSet:
    """The flag has this value from now on. `variant` is what a call records of it."""

    enabled: bool
    variant: str
    description: str = ""


@event("flag-removed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRemoved:
    """The flag is gone; readers take their default."""


FlagEvent = FlagSet | FlagRemoved
