"""One trace for all that happens in a call, by ids that everybody derives alike: spans and the log's records name each other."""

from events.identifiers import derived_id


def trace_of(call_id: str) -> bytes:
    """The trace of a call, which the records of its facts carry as well."""
    return derived_id("call", call_id)


def root_of(call_id: str, run: str) -> bytes:
    """The span of a call over a media stream, which the records of its facts name as well."""
    return derived_id("span", call_id, run)[:8]
