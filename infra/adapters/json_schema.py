"""JSON Schema: what a model gives a tool is checked before the tool is run, and before anything of it is on the log."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from realtime.ports import ToolSpec, ToolUse

_LONGEST: Final = 300


class BrokenSchema(ValueError):
    """A tool's schema is none; the text names the tool."""


# Every call of an agent's has the same tools, and checking a schema itself takes milliseconds.
@lru_cache(maxsize=1024)
def _validator(schema: str) -> Draft202012Validator:
    read = json.loads(schema)
    Draft202012Validator.check_schema(read)
    return Draft202012Validator(read, registry=Registry())


class ArgumentChecks:
    """The schemas of an agent's tools, made ready once. A schema refers to nothing beyond itself: nothing is ever fetched."""

    def __init__(self, specs: Sequence[ToolSpec]) -> None:
        """Raises BrokenSchema."""
        self._validators = {}
        for spec in specs:
            try:
                self._validators[spec.name] = _validator(json.dumps(spec.input_schema, sort_keys=True))
            except SchemaError as cause:
                raise BrokenSchema(f"{spec.name}: {cause.message}") from cause

    def faults(self, use: ToolUse) -> str:
        """What fits worst, and where; empty when all fits, or when no such tool is known here."""
        validator = self._validators.get(use.name)
        if validator is None:
            return ""
        try:
            fault = best_match(validator.iter_errors(dict(use.arguments)))
        except Unresolvable as cause:
            return f"the tool's schema refers to {cause.ref}, which is not there"
        if fault is None:
            return ""
        where = ".".join(str(part) for part in fault.absolute_path)
        return (f"{where}: " if where else "")[:_LONGEST] + str(fault.message)[:_LONGEST]
