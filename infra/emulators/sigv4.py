"""AWS's Signature Version 4, computed from a request as it came, so that an emulator can refuse what the real service would.

Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from typing import Final
from urllib.parse import quote

from aiohttp import web

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[a-z0-9-]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})\Z"
)


def authorization(request: web.Request) -> re.Match[str] | None:
    """The parts of the header: key, day, region, service, signed and signature; None where it is none."""
    return _AUTHORIZATION.match(request.headers.get("Authorization", ""))


def signature(request: web.Request, given: re.Match[str], payload: str, secret_key: str) -> str:
    """What the signature has to be; `payload` is the body's SHA-256 in hex."""
    signed = given["signed"].split(";")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    query = "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in request.query.items()))
    path = quote(request.path, safe="/-_.~")
    canonical = "\n".join([request.method, path, query, headers, ";".join(signed), payload])
    scope = f"{given['day']}/{given['region']}/{given['service']}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret_key}".encode()
    for part in (given["day"], given["region"], given["service"], "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
