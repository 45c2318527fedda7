"""That what went into a call's machine is kept, so that the call can be run again."""

from dataclasses import dataclass

from events.registry import event


@event("signals-kept", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsKept:
    """Everything that media stream `run` brought into the machine, from `from_ms` to `to_ms`, lies in sealed objects up to `name`.

    `digest` is the SHA-256 of that object in hex. Each object begins with the digest of the one before it, so this one proves all of
    them. `objects` and `signals` count from the run's first. `program` is the digest of the machine's own source.
    """

    run: str
    name: str
    digest: str
    objects: int
    signals: int
    from_ms: int
    to_ms: int
    program: str
