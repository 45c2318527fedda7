"""The token endpoint for programs: OAuth 2 client credentials (RFC 6749, section 4.4), with the errors of that RFC, and its description."""

import base64
import binascii
import hmac
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.ports import Ports
from api.problems import TOO_MANY, answers
from api.scopes import SCOPES, covers
from api.throttle import Throttle, place_of
from api.tokens import ACCESS_SECONDS, BEARER, Claims, sign, token_ref
from api.wire import Wire, Wired
from projections.credentials import Client

router = APIRouter(tags=["oauth-clients"])
_FORM = "application/x-www-form-urlencoded"
_TEXT = {"type": "string"}
_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "scope": {"type": "string", "description": "Scopes with spaces between them; left out: all of the client's."},
                        "client_id": {"type": "string", "description": "Where no `Authorization: Basic` has it."},
                        "client_secret": _TEXT,
                    },
                }
            }
        },
    }
}
_ERROR = {
    "description": "An error of RFC 6749, section 5.2.",
    "content": {"application/json": {"schema": {"type": "object", "properties": {"error": _TEXT, "error_description": _TEXT}}}},
}
_NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Token(Wire):
    """`access_token` goes into `Authorization: Bearer …` for as long as `expires_in` seconds; then fetch another one."""

    access_token: str
    token_type: Literal["Bearer"] = BEARER
    expires_in: int = ACCESS_SECONDS
    scope: str


class Metadata(Wire):
    """RFC 8414."""

    issuer: str
    token_endpoint: str
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    scopes_supported: list[str]
    service_documentation: str


class OAuthError(Exception):
    """Ends a request with an error of RFC 6749."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status

    def answer(self) -> Response:
        headers = {**_NOT_STORED, "WWW-Authenticate": 'Basic realm="aybiza"'} if self.status == 401 else _NOT_STORED
        return JSONResponse({"error": self.error, "error_description": str(self)}, status_code=self.status, headers=headers)


@router.post("/oauth/token", response_model=Token, responses={400: _ERROR, 401: _ERROR, **answers(TOO_MANY)}, openapi_extra=_REQUEST)
async def issue_token(request: Request, ports: Wired) -> Response:
    """A short-lived token for a program that an organisation registered."""
    throttle: Throttle = request.app.state.throttle
    try:
        given = _form(request.headers.get("content-type", ""), await request.body())
        client_id, secret = _credentials(request.headers.get("authorization"), given)
        await throttle.admit(ports.sign_ins_from_one, f"{place_of(ports.keyring, request)}:{client_id[:40]}")
        client = _client(ports, client_id, secret)
        scopes = _scopes(given, client)
    except OAuthError as error:
        return error.answer()
    ends = ports.clock() + timedelta(seconds=ACCESS_SECONDS)
    token = sign(ports.keyring, Claims(subject=client.id, expires_at=ends, scopes=scopes))
    shown = Token(access_token=token, scope=" ".join(scopes or sorted(SCOPES)))
    return JSONResponse(shown.model_dump(), headers=_NOT_STORED)


@router.get("/.well-known/oauth-authorization-server")
async def describe_authorization(request: Request) -> Metadata:
    """What the token endpoint can do (RFC 8414)."""
    here = str(request.base_url).rstrip("/")
    return Metadata(
        issuer=here, token_endpoint=f"{here}/oauth/token", response_types_supported=[], grant_types_supported=["client_credentials"],
        token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"], scopes_supported=sorted(SCOPES),
        service_documentation=f"{here}/docs",
    )  # fmt: skip


def _form(content_type: str, body: bytes) -> Mapping[str, str]:
    if content_type.partition(";")[0].strip().lower() != _FORM:
        _refuse("invalid_request", f"the body must be {_FORM}")
    try:
        pairs = parse_qsl(body.decode(), strict_parsing=bool(body), max_num_fields=20)
    except ValueError as cause:
        raise OAuthError("invalid_request", "the body is no form") from cause
    if any(count > 1 for count in Counter(name for name, _ in pairs).values()):
        _refuse("invalid_request", "a parameter comes twice")
    given = dict(pairs)
    if "grant_type" not in given:
        _refuse("invalid_request", "grant_type is missing")
    if given["grant_type"] != "client_credentials":
        _refuse("unsupported_grant_type", "only client_credentials is known here")
    return given


def _credentials(authorization: str | None, given: Mapping[str, str]) -> tuple[str, str]:
    if authorization is None:
        return given.get("client_id", ""), given.get("client_secret", "")
    if "client_secret" in given:
        _refuse("invalid_request", "a client proves itself in one way, not in two")
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as cause:
        raise OAuthError("invalid_client", "the Authorization header cannot be read", status=401) from cause
    if scheme.lower() != "basic":
        raise OAuthError("invalid_client", "a client proves itself by Basic, or in the form", status=401)
    return unquote_plus(client_id), unquote_plus(secret)


def _client(ports: Ports, client_id: str, secret: str) -> Client:
    """Takes as long for a client that there is not."""
    client, presented = ports.access.client(client_id), token_ref(ports.keyring, secret)
    fits = hmac.compare_digest(presented, client.secret_ref if client else "0" * 32)
    old = client is not None and client.old_expires_at is not None and client.old_expires_at > ports.clock()
    fits_old = hmac.compare_digest(presented, client.old_secret_ref if client and client.old_secret_ref else "0" * 32)
    if client is None or client.removed_at is not None or not (fits or (old and fits_old)):
        raise OAuthError("invalid_client", "the client is not known, or its secret is another one", status=401)
    return client


def _scopes(given: Mapping[str, str], client: Client) -> tuple[str, ...]:
    wanted = tuple(sorted(set(given.get("scope", "").split())))
    if not set(wanted) <= SCOPES or not covers(client.scopes, wanted or client.scopes):
        _refuse("invalid_scope", "the client may ask for its own scopes and no others")
    return wanted or client.scopes


def _refuse(error: str, description: str) -> NoReturn:
    raise OAuthError(error, description)
