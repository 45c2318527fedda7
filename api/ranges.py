"""Which bytes of a resource a request wants (RFC 9110, section 14), where one range is served at most."""

import re

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})\Z")


def wanted_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte. None: the range cannot be satisfied. What is no single range of bytes is as if it had not been asked."""
    given = _RANGE.match((header or "").replace(" ", ""))
    if given is None or not (given[1] or given[2]):
        return 0, size - 1
    if not given[1]:
        return (max(0, size - int(given[2])), size - 1) if int(given[2]) else None
    first, last = int(given[1]), min(int(given[2]) if given[2] else size - 1, size - 1)
    return (first, last) if first <= last else None
