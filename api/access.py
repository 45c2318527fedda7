"""Why somebody can or cannot do a thing: the judgement that the gate makes, with the rule and the facts that it rests on."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.auth import AnyCaller, Organisation
from api.openapi import document_of
from api.own import note_what_is_known
from api.ports import Ports
from api.problems import INVALID_REQUEST, NOT_FOUND, At, Problem, answers
from api.rights import Rights, judge, rights_of, sources
from api.scopes import SCOPES, needed
from api.wire import Wire, Wired, nothing
from events.identifiers import InvalidIdentifier, read_identifier

router = APIRouter(prefix="/access", tags=["access"])


class Ground(Wire):
    """A fact that the answer rests on. Its position is empty where it is a rule of ours, the same for everybody."""

    what: str
    position: str = ""


class Explanation(Wire):
    """`rule` is for programs, `because` for people. `needs`: the scope that the operation takes."""

    actor: str
    operation: str
    resource: str | None
    organisation_id: str
    needs: str
    allowed: bool
    rule: str
    because: str
    grounds: list[Ground]


@router.get("/explain", responses=answers(NOT_FOUND, INVALID_REQUEST))
async def explain_access(
    request: Request, who: AnyCaller, organisation: Organisation, ports: Wired,
    operation: Annotated[str, Query(max_length=100, description="An operation's id in this API (`hang_up`), or a scope (`calls:write`).")],
    actor: Annotated[
        str | None, Query(max_length=120, description="`USR-…`, `key_…` or `cli_…`, of this organisation; left out: who asks.")
    ] = None,
    resource: Annotated[str | None, Query(max_length=200, description="The id of the thing that it is about.")] = None,
) -> Explanation:  # fmt: skip
    """Whether somebody may do a thing here, by which rule, and on which facts that rests."""
    note_what_is_known(ports, "people", "memberships", "organisations", "credentials")
    scope = await _scope(request, operation)
    named = (actor or who.actor.partition(":")[2] or who.actor).strip()
    if who.is_operator and actor is None:
        allowed, rule, because, grounds = True, "operator", "The platform's operator may everything.", list[Ground]()
    elif named.startswith("key_"):
        allowed, rule, because, grounds = _of_key(ports, organisation, named, scope)
    elif named.startswith("cli_"):
        allowed, rule, because, grounds = _of_client(ports, organisation, named, scope)
    else:
        named, (allowed, rule, because, grounds) = _of_person(ports, organisation, named, scope, resource)
    return Explanation(
        actor=named, operation=operation, resource=resource, organisation_id=organisation, needs=scope, allowed=allowed, rule=rule,
        because=because, grounds=grounds,
    )  # fmt: skip


async def _scope(request: Request, operation: str) -> str:
    if operation in SCOPES:
        return operation
    for path, methods in (await document_of(request.app))["paths"].items():
        for method, described in methods.items():
            if described["operationId"] == operation and path.startswith("/v1/"):
                return needed(method.upper(), path)
    raise Problem(INVALID_REQUEST, "There is no such operation or scope.", errors=[At(parameter="operation", detail="names neither")])


Said = tuple[bool, str, str, list[Ground]]


def _of_key(ports: Ports, organisation: str, key_id: str, scope: str) -> Said:
    row = ports.access.organisation(organisation)
    key = next((each for each in row.keys if each.key_id == key_id), None) if row else None
    if key is None:
        raise nothing("actor")
    issued = [Ground(what=f"the key {key_id} was issued with {_scopes(key.scopes)}", position=key.position)]
    if key.revoked_at is not None:
        return False, "key-revoked", f"The key was revoked at {key.revoked_at.isoformat()}.", issued
    if key.expires_at is not None and key.expires_at <= ports.clock():
        return False, "key-expired", f"The key expired at {key.expires_at.isoformat()}.", issued
    return _by_scopes(judge(Rights(scopes=key.scopes), scope, None), "key", scope, key.scopes, issued)


def _of_client(ports: Ports, organisation: str, client_id: str, scope: str) -> Said:
    client = ports.access.client(client_id)
    if client is None or client.tenant != organisation:
        raise nothing("actor")
    grounds = [Ground(what=f"the program {client_id} was registered with {_scopes(client.scopes)}", position=client.position)]
    if client.removed_at is not None:
        gone = [Ground(what=f"the program {client_id} was removed", position=client.position)]
        return False, "client-removed", f"The program was removed at {client.removed_at.isoformat()}.", gone
    return _by_scopes(judge(Rights(scopes=client.scopes), scope, None), "client", scope, client.scopes, grounds)


def _by_scopes(allowed: bool, what: str, scope: str, scopes: tuple[str, ...], grounds: list[Ground]) -> Said:
    if allowed:
        return True, f"{what}-has-scope", f"The {what} has {_scopes(scopes)}, and {scope} is among it.", grounds
    return False, f"{what}-lacks-scope", f"The {what} has {_scopes(scopes)}; {scope} is not among it.", grounds


def _of_person(ports: Ports, organisation: str, text: str, scope: str, resource: str | None) -> tuple[str, Said]:
    try:
        person_id = read_identifier(text)
    except InvalidIdentifier as cause:
        raise nothing("actor") from cause
    access = ports.access
    own = access.membership(organisation, person_id)
    found = sources(access, person_id, organisation)
    if not found and own is None:
        # Whether somebody of that id is known elsewhere is not told.
        raise nothing("actor")
    if not found and own is not None:
        ended = [Ground(what=f"the membership ended: {own.ended_by}", position=own.position)]
        return person_id, (False, "membership-ended", "The person belonged to the organisation, and does no more.", ended)
    grounds, had = list[Ground](), list[str]()
    for membership, role in found:
        where = "" if membership.tenant == organisation else f", of {membership.tenant} above it"
        ground = [Ground(what=f"the person has the role {membership.role}{where}", position=membership.position)]
        if role is not None:
            gives = "everything" if not role.grants else ", ".join(_grant(each.scope, each.resources) for each in role.grants)
            ground.append(Ground(what=f"the role {role.name} gives {gives}", position=role.position))
            if judge(rights_of([role]), scope, resource):
                return person_id, (True, "role-gives-scope", f"The role {role.name} gives {scope}.", ground)
        else:
            removed = access.role(membership.tenant, membership.role)
            ground.append(Ground(what=f"the role {membership.role} was removed", position=removed.position if removed else ""))
        grounds += ground
        had.append(membership.role)
    limited = any(judge(rights_of([role]), scope, each) for _, role in found if role for grant in role.grants for each in grant.resources)
    if limited:
        because = f"The role {', '.join(had)} gives {scope} for some things only, and not for {resource or 'all of them'}."
        return person_id, (False, "role-limited-to-others", because, grounds)
    return person_id, (False, "role-lacks-scope", f"The role {', '.join(had)} does not give {scope}.", grounds)


def _grant(scope: str, resources: tuple[str, ...]) -> str:
    return scope if not resources else f"{scope} for {', '.join(resources)}"


def _scopes(scopes: tuple[str, ...]) -> str:
    return ", ".join(scopes) or "every scope"
