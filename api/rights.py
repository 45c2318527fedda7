"""What somebody may: the scopes of keys, the roles of people, and one judgement over both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from api.scopes import RESOURCES, allows
from events.memberships import Grant
from projections.access import Access
from projections.memberships import Membership

SELF = "people:write"
"""What everybody who is signed in may: look after their own name, password and sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role as it counts. No `grants`: it gives everything. `position`: of the fact that defined it; empty for one of ours."""

    name: str
    description: str
    grants: tuple[Grant, ...]
    reaches_children: bool = False
    position: str = ""


def _ours(name: str, description: str, scopes: Iterable[str], *, reaches_children: bool = False) -> Role:
    return Role(name=name, description=description, grants=tuple(Grant(scope=each) for each in scopes), reaches_children=reaches_children)


BUILT_IN: Mapping[str, Role] = {
    role.name: role
    for role in (
        _ours("owner", "May everything, in the organisations below as well.", (), reaches_children=True),
        _ours("admin", "May everything but make owners.", (f"{each}:write" for each in RESOURCES), reaches_children=True),
        _ours(
            "developer", "Makes agents and says where they answer.",
            ("agents:write", "numbers:write", "flags:write", "calls:read", "consents:read", "events:read", "lookup:read", "usage:read"),
        ),
        _ours(
            "operator", "Looks after calls.",
            ("calls:write", "consents:write", "agents:read", "numbers:read", "flags:read", "events:read", "lookup:read"),
        ),
        _ours(
            "analyst", "Reads what happened and what it cost.",
            ("calls:read", "usage:read", "agents:read", "numbers:read", "flags:read", "events:read", "lookup:read"),
        ),
        _ours("auditor", "Reads everything.", (f"{each}:read" for each in RESOURCES), reaches_children=True),
        _ours("billing", "Reads usage and what it costs.", ("usage:read", "organisations:read"), reaches_children=True),
    )
}  # fmt: skip
"""Roles that every organisation has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """`scopes` as a key has them: none, and everything is allowed. `limited`: scopes for single things, by their ids."""

    scopes: tuple[str, ...]
    limited: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Source(NamedTuple):
    """A membership that counts in an organisation: in it, or in one above it; `role` is None where it gives nothing (any more)."""

    membership: Membership
    role: Role | None


def role_of(access: Access, organisation_id: str, name: str) -> Role | None:
    """A role by its name, ours or the organisation's own."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    row = access.role(organisation_id, name)
    if row is None or row.removed or not row.grants:
        return None
    return Role(
        name=name, description=row.description, grants=row.grants, reaches_children=row.reaches_children, position=row.position
    )  # fmt: skip


def sources(access: Access, person_id: str, organisation_id: str) -> Sequence[Source]:
    """By what a person belongs to an organisation, the nearest first."""
    found = []
    for at in access.upwards(organisation_id):
        membership = access.membership(at, person_id)
        if membership is None or membership.ended_at is not None:
            continue
        role = role_of(access, at, membership.role)
        if at == organisation_id or (role is not None and role.reaches_children):
            found.append(Source(membership, role))
    return found


def rights_of(roles: Iterable[Role | None]) -> Rights:
    """What somebody with these roles may; with none of them they have still themselves."""
    scopes, limited = [SELF], dict[str, frozenset[str]]()
    for role in roles:
        if role is None:
            continue
        if not role.grants:
            return Rights(scopes=())
        for grant in role.grants:
            if grant.resources:
                limited[grant.scope] = limited.get(grant.scope, frozenset()) | frozenset(grant.resources)
            else:
                scopes.append(grant.scope)
    return Rights(scopes=tuple(dict.fromkeys(scopes)), limited=limited)


def judge(rights: Rights, scope: str, thing: str | None) -> bool:
    """Whether the scope is among the rights; `thing` is the id of what is asked for, where the address names one."""
    if allows(rights.scopes, scope):
        return True
    return any(thing in things for held, things in rights.limited.items() if allows((held,), scope))
