"""What a thinking model writes before it answers, signed, so that a single altered letter is noticed when it comes back."""

import base64
import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from infra.emulators.bedrock.framing import event

_KEY: Final = b"an emulator's key keeps no secret"
_PIECE: Final = 16


def signature_of(text: str) -> str:
    return base64.b64encode(hmac.digest(_KEY, text.encode(), sha256)).decode()


def is_genuine(block: Mapping[str, Any]) -> bool:
    """Whether a block that came back is one that was written here, unaltered."""
    if "redactedContent" in block:
        box = base64.b64decode(block["redactedContent"])
        return hmac.compare_digest(box[-32:], hmac.digest(_KEY, box[:-32], sha256))
    told = block["reasoningText"]
    return hmac.compare_digest(told.get("signature", ""), signature_of(told["text"]))


def frames(text: str, block: int, *, redacted: bool) -> list[bytes]:
    """The events of one thought."""

    def delta(piece: Mapping[str, Any]) -> bytes:
        return event("contentBlockDelta", {"delta": {"reasoningContent": piece}, "contentBlockIndex": block})

    stop = event("contentBlockStop", {"contentBlockIndex": block})
    if redacted:
        box = text.encode() + hmac.digest(_KEY, text.encode(), sha256)
        return [delta({"redactedContent": base64.b64encode(box).decode()}), stop]
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    return [*(delta({"text": piece}) for piece in pieces), delta({"signature": signature_of(text)}), stop]
