"""Where a process's log lines go: one JSON object a line, to a file or to standard error, never between a verb's results."""

import logging
import sys
import traceback
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
        _without_reprs,
        structlog.processors.ExceptionRenderer(_traced),
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


def _traced(exc_info: structlog.typing.ExcInfo) -> str:
    """Where it broke and with what kind of error; not the error's own words, in which a caller's words or a key may be."""
    return "\n".join(_trace(exc_info[1]))


def _trace(fault: BaseException) -> Iterator[str]:
    before = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)
    if before is not None:
        yield from _trace(before)
        yield "which led to"
    yield "".join(traceback.format_tb(fault.__traceback__)).rstrip()
    code = f" {fault.errno}" if isinstance(fault, OSError) and fault.errno is not None else ""
    yield f"{type(fault).__module__}.{type(fault).__qualname__}{code}"
    if isinstance(fault, BaseExceptionGroup):
        for each in fault.exceptions:
            yield from _trace(each)


def _without_reprs(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A broken task or callback is described by asyncio with its error and arguments; what it was called stays."""
    record = line.get("_record")
    if isinstance(record, logging.LogRecord) and record.name == "asyncio":
        line["event"] = str(line["event"]).partition("\n")[0].partition("(")[0]
    return line
