"""An emulator of the few S3 calls that recordings and signals need, strict about signature (SigV4), checksum and condition.

Sources: docs.aws.amazon.com/AmazonS3/latest/API (PutObject, GetObject, ListObjectsV2) and there "Signature Calculations".
"""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

from aiohttp import web

from infra.emulators import sigv4

# Without these under the signature somebody on the way could change what is meant.
_MUST_BE_SIGNED: Final = {"host", "x-amz-content-sha256", "x-amz-date"}


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(slots=True, kw_only=True)
class S3Emulator:
    """One bucket, listed in pages of `page`. `failing`: so many of the next requests get a 503, as S3 answers to make us slow down."""

    bucket: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    failing: int = 0
    refusals: list[str] = field(default_factory=list)
    puts: int = 0
    page: int = 1000

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listens within; gives the endpoint's URL."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield f"http://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            return self._done(request, body)
        except _Refused as refused:
            self.refusals.append(refused.code)
            text = f"<Error><Code>{refused.code}</Code><Message>{escape(str(refused))}</Message></Error>"
            return web.Response(status=refused.status, text=text, content_type="application/xml")

    def _done(self, request: web.Request, body: bytes) -> web.Response:
        if self.failing:
            self.failing -= 1
            raise _Refused(503, "SlowDown", "Please reduce your request rate.")
        self._authorise(request, body)
        key = self._key(request)
        if request.method == "PUT":
            return self._put(request, key, body)
        if request.method == "GET":
            return self._get(request, key) if key else self._list(request)
        if request.method == "DELETE" and key:
            # Of what was never there it says the same.
            self.objects.pop(key, None)
            return web.Response(status=204)
        raise _Refused(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    def _key(self, request: web.Request) -> str:
        bucket, _, key = request.match_info["path"].partition("/")
        if bucket != self.bucket:
            raise _Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        return key

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if request.headers.get("x-amz-checksum-sha256", checksum) != checksum:
            raise _Refused(400, "BadDigest", "The SHA256 you specified did not match what we received.")
        condition = request.headers.get("If-None-Match")
        if condition not in (None, "*"):
            raise _Refused(501, "NotImplemented", "If-None-Match takes * alone")
        if condition and key in self.objects:
            raise _Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        self.objects[key] = body, checksum
        self.puts += 1
        return web.Response(
            headers={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"', "x-amz-checksum-sha256": checksum}
        )

    def _get(self, request: web.Request, key: str) -> web.Response:
        if key not in self.objects:
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        body, checksum = self.objects[key]
        wanted = request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
        return web.Response(body=body, headers={"x-amz-checksum-sha256": checksum} if wanted else {})

    def _list(self, request: web.Request) -> web.Response:
        if request.query.get("list-type") != "2":
            raise _Refused(501, "NotImplemented", "Only the second version of listing is emulated")
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        found = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page, rest = found[: self.page], found[self.page :]
        keys = "".join(f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size></Contents>" for key in page)
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{self.bucket}</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount><MaxKeys>{self.page}</MaxKeys>"
            f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{more}{keys}</ListBucketResult>"
        )
        return web.Response(text=text, content_type="application/xml")

    def _authorise(self, request: web.Request, body: bytes) -> None:
        given = sigv4.authorization(request)
        if given is None or (given["key"], given["region"], given["service"]) != (self.access_key, self.region, "s3"):
            raise _Refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
        signed = given["signed"].split(";")
        ours = {name for name in map(str.lower, request.headers) if name.startswith("x-amz-")}
        if not set(signed) >= _MUST_BE_SIGNED | ours:
            raise _Refused(403, "AccessDenied", "There were headers present in the request which were not signed")
        payload = request.headers["x-amz-content-sha256"]
        if payload != hashlib.sha256(body).hexdigest():
            raise _Refused(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
        if not hmac.compare_digest(sigv4.signature(request, given, payload, self.secret_key), given["signature"]):
            raise _Refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
