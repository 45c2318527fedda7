"""Whether programs of yesterday and tomorrow read each other's records: Apache Avro's own rules, and what they pass over."""

import json
from collections.abc import Iterator
from typing import Any, cast

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

from events.schema import Schema


def faults_between(old: Schema, new: Schema) -> list[str]:
    """Why two schemas of one event are not fully compatible: each must read what the other wrote. Empty when they are."""
    return [
        *(f"today's program cannot read it: {fault}" for fault in _unreadable(reader=new, writer=old)),
        *(f"a program of then cannot read today's: {fault}" for fault in _unreadable(reader=old, writer=new)),
        *_changed_meanings(old, new),
    ]


def _unreadable(*, reader: Schema, writer: Schema) -> list[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    found = checker.get_compatibility(parse(json.dumps(reader)), parse(json.dumps(writer)))
    if found.compatibility is SchemaCompatibilityType.compatible:
        return []
    kinds = ", ".join(sorted({kind.value.replace("_", " ") for kind in found.incompatibilities}))
    return [f"{kinds} at {', '.join(sorted(found.locations))} ({', '.join(sorted(found.messages))})"]


def _changed_meanings(old: Schema, new: Schema) -> list[str]:
    # Apache's rules look at neither logical types nor their scale, and take text for bytes; nor does the fingerprint show them.
    before, after = dict(_leaves(old, "", {})), dict(_leaves(new, "", {}))
    return [
        f"{path} was {before[path]} and is {after[path]}" for path in sorted(before.keys() & after.keys()) if before[path] != after[path]
    ]


def _leaves(schema: Schema, path: str, named: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Each plain type of a schema by its path, with its logical type."""
    match schema:
        case list():
            for branch in schema:
                if branch != "null":
                    yield from _leaves(branch, path, named)
        case {"type": "record", "fields": fields}:
            named[f"{schema['namespace']}.{schema['name']}"] = schema
            for field in cast(list[dict[str, Any]], fields):
                yield from _leaves(field["type"], f"{path}/{field['name']}", named)
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            yield from _leaves(inner, f"{path}/*", named)
        case {"type": plain}:
            yield path, " ".join(str(schema[key]) for key in ("type", "logicalType", "precision", "scale") if key in schema) or str(plain)
        case str() if schema in named:
            yield from _leaves(named[schema], path, named)
        case _:
            yield path, str(schema)
