"""Who calls: a program by its key or token, a person who is signed in, or the platform's operator."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from api.ports import Ports
from api.problems import OPERATOR_ONLY, ORGANISATION_NEEDED, PERSON_ONLY, SCOPE_MISSING, UNAUTHENTICATED, At, Problem
from api.rights import SELF, Rights, judge, rights_of, sources
from api.scopes import allows, covers, needed, thing
from api.tokens import Claims, is_token, read
from events.identifiers import ALPHABET, InvalidIdentifier, read_identifier
from events.sealing import KeyRing
from projections.directory import KnownKey

ON_BEHALF = "Aybiza-Organisation"
OPERATOR = "operator"
_KEY_ID_CHARACTERS = 16
_TOKEN = re.compile(r"aybiza_(operator|key_[0-9A-Z]{16})_([0-9A-Za-z_-]{20,128})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, authenticated. No `scopes`: everything is allowed; `limited` adds scopes for single things, by their ids.

    `organisation_id` is None for an operator who acts for none, and for a person who belongs to none, or to several and named none.
    `api_version`: that of the API's date versions which its key was made for.
    """

    organisation_id: str | None
    actor: str
    is_operator: bool
    scopes: tuple[str, ...] = ()
    api_version: str = ""
    limited: Mapping[str, frozenset[str]] = field(default_factory=dict)
    person_id: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedKey:
    """A key at its birth: the only moment at which its whole text is known."""

    key_id: str
    token: str
    secret_hash: bytes


def hash_of(secret: str) -> bytes:
    """SHA-256 is enough for secrets that a program drew: nobody guesses 128 bits and more."""
    return hashlib.sha256(secret.encode()).digest()


def mint(keyring: KeyRing, organisation_id: str, seed: bytes) -> MintedKey:
    """An API key that follows from the seed, so that a repeated request gets the same answer.

    Only who holds the key ring's master key could draw it again; the seed alone tells nothing.
    """
    draw = "".join(keyring.reference(organisation_id, f"api-key {part} {seed.hex()}") for part in ("id", "secret", "secret-more"))
    value = int(draw[:32], 16)
    key_id = "key_" + "".join(ALPHABET[value >> (5 * at) & 31] for at in range(_KEY_ID_CHARACTERS))
    secret = draw[32:]
    return MintedKey(key_id=key_id, token=f"aybiza_{key_id}_{secret}", secret_hash=hash_of(secret))


def recognise(authorization: str, on_behalf: str | None, ports: Ports) -> Caller:
    """Read `Authorization` and `Aybiza-Organisation`. Raises Problem."""
    keys, operator_key_hash = ports.api_keys, ports.operator_key_hash
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and is_token(token.strip()):
        return _by_token(token.strip(), on_behalf, ports)
    parsed = _TOKEN.match(token.strip())
    if scheme.lower() != "bearer" or parsed is None:
        raise _nobody(UNAUTHENTICATED.meaning)
    key_id, presented = parsed[1], hash_of(parsed[2])
    if key_id == OPERATOR:
        if operator_key_hash is None or not hmac.compare_digest(hash_of(parsed[0]), operator_key_hash):
            raise _nobody("The key opens nothing here.")
        return Caller(organisation_id=_named(on_behalf), actor=OPERATOR, is_operator=True)
    known = keys.api_key(key_id)
    # Compared also where nothing is known, so that the time taken does not tell which key ids exist.
    if not hmac.compare_digest(presented, known.secret_hash if known else bytes(32)) or known is None:
        raise _nobody("The key opens nothing here: it was never issued, or is revoked.")
    if known.expires_at is not None and known.expires_at <= ports.clock():
        raise _nobody(f"The key expired at {_written(known.expires_at)}; issue a new one.")
    rights = _rights_by(ports, known)
    if rights is None:
        raise _nobody("The key is a person's own, who belongs to the organisation no more.")
    return Caller(
        organisation_id=known.organisation_id, actor=f"api-key:{key_id}", is_operator=False, scopes=rights.scopes,
        api_version=known.api_version, limited=rights.limited,
    )  # fmt: skip


def _rights_by(ports: Ports, known: KnownKey) -> Rights | None:
    """What a key may now. A person's own: of what it names, what they may now; None, once they belong to the organisation no more."""
    if not known.person_id:
        return Rights(scopes=known.scopes)
    found = sources(ports.access, known.person_id, known.organisation_id)
    if not found:
        return None
    theirs = rights_of(source.role for source in found)
    if not known.scopes:
        return theirs
    # None at all would be everything.
    return Rights(scopes=tuple(each for each in known.scopes if allows(theirs.scopes, each)) or (SELF,))


def _by_token(token: str, on_behalf: str | None, ports: Ports) -> Caller:
    claims = read(ports.keyring, token)
    if claims is None:
        raise _nobody("The token is none that was given here.")
    if claims.expires_at <= ports.clock():
        raise _nobody("The token's time is over; fetch another one.")
    known = _program(claims, ports) if claims.subject.startswith("cli_") else _somebody(claims, on_behalf, ports)
    if known is None:
        raise _nobody("The token opens nothing any more: its session has ended, or its program was removed.")
    return known


def _program(claims: Claims, ports: Ports) -> Caller | None:
    client = ports.access.client(claims.subject)
    if client is None or client.removed_at is not None:
        return None
    return Caller(organisation_id=client.tenant, actor=f"oauth-client:{client.id}", is_operator=False, scopes=claims.scopes)


def _somebody(claims: Claims, on_behalf: str | None, ports: Ports) -> Caller | None:
    access = ports.access
    session = access.session(claims.subject)
    if session is None or session.expires_at <= ports.clock():
        return None
    person_id, organisation_id = session.person_id, _named(on_behalf)
    if organisation_id is None:
        own = access.memberships_of(person_id)
        organisation_id = own[0].tenant if len(own) == 1 else None
    found = [] if organisation_id is None else sources(access, person_id, organisation_id)
    if on_behalf is not None and not found:
        detail = "You do not belong to the organisation that you name."
        raise Problem(ORGANISATION_NEEDED, detail, errors=[At(header=ON_BEHALF, detail="names no organisation of yours")])
    rights = rights_of(source.role for source in found)
    return Caller(
        organisation_id=organisation_id if found else None, actor=f"person:{person_id}", is_operator=False, scopes=rights.scopes,
        limited=rights.limited, person_id=person_id, session_id=session.id,
    )  # fmt: skip


def permit(who: Caller, method: str, path: str) -> None:
    """Whether the caller may ask this. Raises Problem; it tells of the caller's rights, never of what the path names."""
    scope = needed(method, path)
    if not judge(Rights(scopes=who.scopes, limited=who.limited), scope, thing(path)):
        whose = "Your role" if who.person_id else "The key"
        raise Problem(SCOPE_MISSING, f"{whose} lacks the scope {scope}; it has {', '.join(who.scopes)}.", needed=scope)


def still_opens(ports: Ports, who: Caller) -> bool:
    """Whether who was let in a while ago would be let in now, with no less: what is open for long asks again and again."""
    kind, _, credential = who.actor.partition(":")
    match kind:
        case "api-key":
            known = ports.api_keys.api_key(credential)
            if known is None or (known.expires_at is not None and known.expires_at <= ports.clock()):
                return False
            left = _rights_by(ports, known)
            return left is not None and covers(left.scopes, who.scopes)
        case "oauth-client":
            client = ports.access.client(credential)
            return client is not None and client.removed_at is None
        case "person":
            session = ports.access.session(who.session_id)
            if session is None or session.expires_at <= ports.clock():
                return False
            now = rights_of(source.role for source in sources(ports.access, who.person_id, who.organisation_id or ""))
            return not now.scopes or (bool(who.scopes) and all(allows(now.scopes, each) for each in who.scopes))
        case _:
            return True


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _nobody(detail: str) -> Problem:
    return Problem(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": 'Bearer realm="aybiza"'})


def _named(on_behalf: str | None) -> str | None:
    if on_behalf is None:
        return None
    try:
        return read_identifier(on_behalf)
    except InvalidIdentifier as cause:
        raise Problem(ORGANISATION_NEEDED, str(cause), errors=[At(header=ON_BEHALF, detail=str(cause))]) from cause


class _Known(SecurityBase):
    """Whom the gate let in, as a route wants to have it: one dependency, for each costs every request its time."""

    def __init__(self, give: Callable[[Caller], object]) -> None:
        self.scheme_name = "ApiKey"
        self.model = HTTPBearer(
            bearerFormat="aybiza_<key id>_<secret> or aybiza_token_…",
            description="An organisation's API key, a short-lived token of a person or a program, or the platform operator's key. "
            "The operator, and a person of several organisations, name one in the header `Aybiza-Organisation`.",
        )  # fmt: skip
        self._give = give

    async def __call__(self, request: Request) -> object:
        return self._give(request.scope["state"]["caller"])


def _anybody(who: Caller) -> Caller:
    return who


def _organisation(who: Caller) -> str:
    if who.organisation_id is None:
        raise Problem(ORGANISATION_NEEDED, ORGANISATION_NEEDED.meaning, errors=[At(header=ON_BEHALF, detail="is missing")])
    return who.organisation_id


def _operator(who: Caller) -> Caller:
    if not who.is_operator:
        raise Problem(OPERATOR_ONLY, OPERATOR_ONLY.meaning)
    return who


def _person(who: Caller) -> Caller:
    if not who.person_id:
        raise Problem(PERSON_ONLY, PERSON_ONLY.meaning)
    return who


AnyCaller = Annotated[Caller, Security(_Known(_anybody))]
Organisation = Annotated[str, Security(_Known(_organisation))]
"""That which the request is about, by its key."""
Operator = Annotated[Caller, Security(_Known(_operator))]
"""The platform's operator, and nobody else."""
SignedIn = Annotated[Caller, Security(_Known(_person))]
"""A person who is signed in, and no program."""
