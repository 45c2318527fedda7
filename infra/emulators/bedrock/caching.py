"""The provider's prompt cache: what a request has in common with an earlier one up to a cache point is read, the rest written."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

_CHARACTERS_PER_TOKEN: Final = 4
_LIFETIME_SECONDS: Final = 300.0
# The service looks this many blocks back from a cache point for something that it has.
_LOOKS_BACK: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Tokens of a question: those that were read from the cache, written to it, and neither."""

    fresh: int
    read: int
    written: int


class PromptCache:
    """Keeps a beginning of at least `minimum` tokens for five minutes from its last use, by model."""

    def __init__(self) -> None:
        self._kept: dict[str, float] = {}

    def count(self, model: str, body: Mapping[str, Any], tokens: int, *, minimum: int | None, now: float) -> Counted:
        """`tokens` is the whole question's size."""
        boundaries, points = list[tuple[str, int]](), list[int]()
        for digest, size, is_point in _chain(model, body):
            if is_point and minimum is not None and size >= minimum and boundaries:
                points.append(len(boundaries) - 1)
            elif not is_point:
                boundaries.append((digest, size))
        if not points:
            return Counted(fresh=tokens, read=0, written=0)
        read = 0
        for point in points:
            for digest, size in boundaries[max(0, point - _LOOKS_BACK) : point + 1]:
                if self._kept.get(digest, -1.0) >= now:
                    read = max(read, size)
                    self._kept[digest] = now + _LIFETIME_SECONDS
        for point in points:
            self._kept[boundaries[point][0]] = now + _LIFETIME_SECONDS
        whole = boundaries[points[-1]][1]
        written = max(0, whole - read)
        return Counted(fresh=max(0, tokens - read - written), read=read, written=written)


def _chain(model: str, body: Mapping[str, Any]) -> Iterator[tuple[str, int, bool]]:
    """Every block with the digest and the tokens of everything up to it; tools first, then the prompt, then the talk."""
    digest, characters = sha256(model.encode()), 0
    blocks = [("tools", block) for block in body.get("toolConfig", {}).get("tools", [])]
    blocks += [("system", block) for block in body.get("system", [])]
    blocks += [(f"{at} {entry['role']}", block) for at, entry in enumerate(body["messages"]) for block in entry["content"]]
    for where, block in blocks:
        if "cachePoint" in block:
            yield digest.hexdigest(), characters // _CHARACTERS_PER_TOKEN, True
            continue
        text = json.dumps(block, sort_keys=True)
        digest.update(f"{where} {text}".encode())
        characters += len(text)
        yield digest.hexdigest(), characters // _CHARACTERS_PER_TOKEN, False
