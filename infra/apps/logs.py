"""Where a process's log lines go: one JSON object a line, to a file or to standard error, never between a verb's results."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import structlog


@contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Append to a file, or write to standard error. What libraries log from `warning` on goes there as well."""
    if path is None:
        _configure(sys.stderr)
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", buffering=1) as file:
        _configure(file)
        try:
            yield
        finally:
            _configure(sys.stderr)


def _configure(out: TextIO) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # A traceback without the values of variables, among which a caller's words or a key may be.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    libraries = logging.StreamHandler(out)
    libraries.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=structlog.processors.JSONRenderer()))
    root = logging.getLogger()
    root.handlers[:] = [libraries]
    root.setLevel(logging.WARNING)
    # It reports every attempt to reach a broker that is away; our own lines say once that it is.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
