"""AWS's event stream framing: length, headers, payload, and a checksum after each (`application/vnd.amazon.eventstream`)."""

import json
import struct
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_STRING: Final = b"\x07"


def event(kind: str, payload: Mapping[str, Any]) -> bytes:
    return _message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(kind: str, message: str) -> bytes:
    """An error in mid-stream; `kind` is lower camel case, as the service writes it."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _message(headers, {"message": message})


def _message(headers: Mapping[str, str], payload: Mapping[str, Any]) -> bytes:
    packed = b"".join(
        bytes([len(name)]) + name.encode() + _STRING + struct.pack(">H", len(value)) + value.encode() for name, value in headers.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(packed) + len(body), len(packed))
    message = prelude + struct.pack(">I", crc32(prelude)) + packed + body
    return message + struct.pack(">I", crc32(message))
