"""Twilio's webhooks: nothing happens before the signature over our public address is right."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from fastapi import APIRouter, Request, Response

from realtime.carrier import twiml
from realtime.carrier.status import over_in

_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}\Z")
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_HINT = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}\.[0-9a-f]{32}\Z")
_COUNT = re.compile(r"[0-9]{1,3}\Z")
_LONGEST_FORM = 32_768
_LONGEST_PARTY = 100

SignatureCheck = Callable[[str, Mapping[str, str], str], bool]
"""(public address with its query, the form's fields, the signature) → whether the carrier signed it."""


class Answering(Protocol):
    """Who answers the carrier's questions; each answer is a TwiML document. `draining`: the next one is for somebody else."""

    draining: bool

    async def ring(self, call_sid: str, caller: str, number: str, asked: int) -> str:
        """`asked`: how often we sent the carrier on."""

    async def next(self, call_id: str, organisation_id: str, hint: str, asked: int) -> str:
        """The media stream has ended: what follows? `hint`: where on the log the call begins; `asked`: how often we sent the carrier on."""

    async def over(self, call_sid: str) -> None:
        """The carrier says that its call is over."""

    async def stream(self, call_id: str, organisation_id: str, fields: Mapping[str, str]) -> None:
        """The carrier tells what became of a media stream."""

    async def leg(self, call_id: str, organisation_id: str, fields: Mapping[str, str]) -> str:
        """The carrier tells of the leg to whom a caller was put through, or asks what follows it."""


def router(answering: Answering, signed: SignatureCheck, public_url: str, counters: Counter[str]) -> APIRouter:
    """Routes under `/twilio`. `public_url` is the address that the carrier knows us by and signs."""
    routes = APIRouter(prefix="/twilio", include_in_schema=False)

    async def form(request: Request) -> Mapping[str, str] | None:
        """The form's fields, or None when it is not the carrier's."""
        if int(request.headers.get("content-length") or 0) > _LONGEST_FORM:
            return None
        async with request.form(max_files=0, max_fields=200) as given:
            fields = {name: value for name, value in given.items() if isinstance(value, str)}
        query = f"?{request.url.query}" if request.url.query else ""
        if signed(f"{public_url}{request.url.path}{query}", fields, request.headers.get("x-twilio-signature", "")):
            return fields
        counters["webhooks-forged"] += 1
        return None

    def again(request: Request) -> int:
        count = request.query_params.get("again", "")
        return int(count) if _COUNT.match(count) else 0

    def document(text: str) -> Response:
        # A balancer that keeps the connection would bring the carrier here again.
        return Response(text, media_type=twiml.MEDIA_TYPE, headers={"Connection": "close"} if answering.draining else None)

    @routes.post("/voice")
    async def voice(request: Request) -> Response:
        fields = await form(request)
        if fields is None:
            return _forbidden()
        call_sid, caller, number = fields.get("CallSid", ""), fields.get("From", ""), fields.get("To", "")
        if not _CALL_SID.match(call_sid) or not caller or not number or max(len(caller), len(number)) > _LONGEST_PARTY:
            return Response("CallSid, From and To are needed", status_code=400)
        return document(await answering.ring(call_sid, caller, number, again(request)))

    @routes.post("/voice/next")
    async def following(request: Request) -> Response:
        fields = await form(request)
        if fields is None:
            return _forbidden()
        if (call := _call_in(request)) is None:
            return document(twiml.HANG_UP)
        hint = request.query_params.get("at", "")
        return document(await answering.next(*call, hint if _HINT.match(hint) else "", again(request)))

    @routes.post("/status")
    async def status(request: Request) -> Response:
        fields = await form(request)
        if fields is None:
            return _forbidden()
        told = over_in(fields)
        if told is not None and _CALL_SID.match(told.call_sid):
            await answering.over(told.call_sid)
        return Response(status_code=204)

    @routes.post("/stream")
    async def stream(request: Request) -> Response:
        fields = await form(request)
        if fields is None:
            return _forbidden()
        if (call := _call_in(request)) is not None:
            await answering.stream(*call, fields)
        return Response(status_code=204)

    @routes.post("/leg")
    async def leg(request: Request) -> Response:
        fields = await form(request)
        if fields is None:
            return _forbidden()
        if (call := _call_in(request)) is None:
            return document(twiml.HANG_UP)
        return document(await answering.leg(*call, fields))

    return routes


def _call_in(request: Request) -> tuple[str, str] | None:
    """The call and its organisation, as the address that we gave the carrier names them."""
    call_id, organisation_id = (request.query_params.get(name, "") for name in ("call", "of"))
    return (call_id, organisation_id) if _ID.match(call_id) and _ID.match(organisation_id) else None


def _forbidden() -> Response:
    return Response("the signature is wrong or missing", status_code=403)
