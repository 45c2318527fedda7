"""One trace id from a request to the facts that it brings about (W3C Trace Context)."""

import re
from collections.abc import MutableMapping
from typing import Any, NamedTuple

import structlog

from api.ports import Draw

HEADER = "Aybiza-Trace-Id"
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?\Z")


class Trace(NamedTuple):
    """Raw ids, as the log's packed header carries them; `span_id` is the caller's."""

    trace_id: bytes
    span_id: bytes


def begin(traceparent: bytes | None, draw: Draw) -> Trace:
    """Go on with the caller's trace; where there is none, or a broken one, begin one. What is logged of the request has its id."""
    trace = _trace(traceparent, draw)
    structlog.contextvars.bind_contextvars(trace_id=trace.trace_id.hex())
    return trace


def _trace(traceparent: bytes | None, draw: Draw) -> Trace:
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    if found is None or not traceparent or traceparent.startswith(b"ff"):
        return _drawn(draw)
    trace = Trace(trace_id=bytes.fromhex(found[1].decode()), span_id=bytes.fromhex(found[2].decode()))
    return trace if any(trace.trace_id) and any(trace.span_id) else _drawn(draw)


def _drawn(draw: Draw) -> Trace:
    # Each draw is a call into the kernel.
    drawn = draw(24)
    return Trace(trace_id=drawn[:16], span_id=drawn[16:])


def trace_of(scope: MutableMapping[str, Any]) -> Trace:
    """The trace that the gate gave a request."""
    trace: Trace = scope["state"]["trace"]
    return trace
