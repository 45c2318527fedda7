"""A piece of a recording as a sealed object: under a key of the call's own, which the caller's key wraps.

An object is a line of JSON (layout, whose key, which call, where it begins and how long it is) and one sealed box, bound to its name.
"""

import hashlib
import json

from events.sealing import BrokenSeal, KeyRing
from realtime.ports import RecordedStretch

_LAYOUT = 1
# Wide enough for a day in ms, so that names sort as time goes.
_DIGITS = 9


def name_of(call_id: str, stream_sid: str, from_ms: int) -> str:
    """Where a piece lies; each media stream of a call has pieces of its own."""
    return f"{call_id}/{stream_sid}-{from_ms:0{_DIGITS}d}"


def digest_of(content: bytes) -> str:
    """By which the log knows an object."""
    return hashlib.sha256(content).hexdigest()


def sealed(piece: RecordedStretch, name: str, subject: str, keyring: KeyRing) -> bytes:
    """The object that `name` is to hold."""
    call_id = name.partition("/")[0]
    told = {"layout": _LAYOUT, "subject": subject, "call": call_id, "from_ms": piece.from_ms, "bytes": len(piece.caller)}
    return json.dumps(told).encode() + b"\n" + keyring.seal_part(subject, call_id, piece.caller + piece.agent, about=name.encode())


def unsealed(content: bytes, name: str, keyring: KeyRing) -> RecordedStretch:
    """Raises KeyErased, or BrokenSeal where it was altered or lies under another's name."""
    line, _, box = content.partition(b"\n")
    try:
        told = json.loads(line)
        subject, call_id, from_ms, length = str(told["subject"]), str(told["call"]), int(told["from_ms"]), int(told["bytes"])
    except (ValueError, KeyError, TypeError) as cause:
        raise BrokenSeal(f"{name} is no piece of a recording") from cause
    plain = keyring.open_part(subject, call_id, box, about=name.encode())
    return RecordedStretch(from_ms=from_ms, caller=plain[:length], agent=plain[length:])
