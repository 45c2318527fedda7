"""Who allows what, and where on the log it says so."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.consents import ConsentEvent, ConsentGranted, ConsentRevoked, Purpose
from events.recorded import Recorded
from events.sealing import Sealed
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a person said, once. `position` is the fact's place on the log, `version` that of the person's stream."""

    said_at: datetime
    evidence: str
    version: int
    position: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One purpose: the last grant, and the last withdrawal."""

    purpose: Purpose
    granted: Statement | None = None
    withdrawn: Statement | None = None

    def holds(self, at: datetime) -> bool:
        """Whether it is allowed at a moment; at its very end it no longer is."""
        if self.granted is None or (self.withdrawn is not None and self.withdrawn.version > self.granted.version):
            return False
        return self.granted.expires_at is None or at < self.granted.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerPermissions:
    """A caller of a business, by the keyed hash of their number; `permissions` in the order of the purposes' names."""

    tenant: str
    id: str
    version: int
    subject: Sealed[str]
    permissions: tuple[Permission, ...] = ()

    def permission(self, purpose: Purpose) -> Permission:
        """What was said about a purpose, if anything."""
        return next((each for each in self.permissions if each.purpose is purpose), Permission(purpose=purpose))


def evolve(row: CallerPermissions | None, recorded: Recorded[ConsentEvent]) -> CallerPermissions:
    match recorded.fact:
        case ConsentGranted(subject=subject, purpose=purpose, evidence=evidence, expires_at=expires_at):
            stream = recorded.stream
            known = row or CallerPermissions(tenant=stream.tenant, id=stream.id, version=recorded.version, subject=subject)
            return _with(known, replace(known.permission(purpose), granted=_statement(recorded, evidence, expires_at)))
        case ConsentRevoked(purpose=purpose, evidence=evidence):
            if row is None:
                raise BrokenHistory(f"{recorded.stream} withdraws what was never granted")
            return _with(row, replace(row.permission(purpose), withdrawn=_statement(recorded, evidence)))
        case _:
            assert_never(recorded.fact)


def _statement(recorded: Recorded[ConsentEvent], evidence: str, expires_at: datetime | None = None) -> Statement:
    return Statement(
        said_at=recorded.occurred_at, evidence=evidence, version=recorded.version, position=str(recorded.position), expires_at=expires_at
    )  # fmt: skip


def _with(row: CallerPermissions, permission: Permission) -> CallerPermissions:
    others = [each for each in row.permissions if each.purpose is not permission.purpose]
    return replace(row, permissions=tuple(sorted([*others, permission], key=lambda each: each.purpose.value)))


CALLER_PERMISSIONS = Table(
    name="caller_permissions", version=1, room="consents", category="consents", row=CallerPermissions, evolve=evolve
)  # fmt: skip
