"""The folder `schemas/`: what is derived from the event classes, and what must be readable for ever."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from events.codec import Codec, fingerprint_of
from events.registry import EventType
from events.schema import schema_of
from infra.adapters.avro.compatibility import faults_between
from infra.adapters.avro.goldens import Golden, faults_of, golden_of

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"


def drift(root: Path, kinds: Sequence[EventType]) -> list[str]:
    """Where the committed `.avsc` files and the event classes differ."""
    wanted = {_schema_file(root, kind): _schema_text(kind) for kind in kinds}
    there = set(root.glob("events/*/*.avsc"))
    return [
        *(f"{_short(root, path)} is missing" for path in sorted(wanted.keys() - there)),
        *(f"{_short(root, path)} belongs to no event; an event's name is for ever" for path in sorted(there - wanted.keys())),
        *(
            f"{_short(root, path)} is not what the class says"
            for path in sorted(wanted.keys() & there)
            if path.read_text("utf-8") != wanted[path]
        ),
    ]


def incompatible(root: Path, kinds: Sequence[EventType]) -> list[str]:
    """Which schemas that were ever committed today's programs do not understand, or would not be understood by."""
    today = {kind.ce_type: kind for kind in kinds}
    faults = []
    for path, golden in goldens(root):
        kind = today.get(golden.ce_type)
        if kind is None:
            faults.append(f"{_short(root, path)}: no class is declared as {golden.ce_type}; records of that name lie on the log")
            continue
        faults += [f"{_short(root, path)}: {fault}" for fault in faults_between(golden.schema, schema_of(kind))]
    return faults


def unsaid(root: Path) -> list[str]:
    """Which golden examples do not decode to what they said: with their schema learnt from the log, or known beforehand."""
    return [f"{_short(root, path)}: {fault}" for path, golden in goldens(root) for fault in faults_of(golden, Codec())]


def without_golden(root: Path, kinds: Sequence[EventType]) -> list[str]:
    """Which of today's schemas no golden example speaks for."""
    return [f"{_short(root, path)} is missing" for kind in kinds if not (path := _golden_file(root, kind)).exists()]


def check(root: Path, kinds: Sequence[EventType]) -> list[str]:
    """Everything that is wrong with the folder, a line each."""
    return [*drift(root, kinds), *incompatible(root, kinds), *unsaid(root), *without_golden(root, kinds)]


def write(root: Path, kinds: Sequence[EventType]) -> list[str]:
    """Write the derived files anew and the golden examples that are missing; never touches one that is there. Returns their names."""
    written = []
    for kind in kinds:
        path, text = _schema_file(root, kind), _schema_text(kind)
        if not path.exists() or path.read_text("utf-8") != text:
            _put(path, text)
            written.append(_short(root, path))
        golden = _golden_file(root, kind)
        if not golden.exists():
            _put(golden, json.dumps(asdict(golden_of(kind)), indent=2, ensure_ascii=False) + "\n")
            written.append(_short(root, golden))
    return written


def goldens(root: Path) -> list[tuple[Path, Golden]]:
    """Every golden example that is kept, in the order of their names."""
    return [(path, _read(path)) for path in sorted(root.glob("golden/*/*.json"))]


def _read(path: Path) -> Golden:
    entry = json.loads(path.read_text("utf-8"))
    return Golden(**{**entry, "examples": tuple((value, fact) for value, fact in entry["examples"])})


def _schema_file(root: Path, kind: EventType) -> Path:
    return root / "events" / kind.room / f"{kind.ce_type}.avsc"


def _golden_file(root: Path, kind: EventType) -> Path:
    return root / "golden" / kind.room / f"{kind.ce_type}.{fingerprint_of(schema_of(kind)).hex()}.json"


def _schema_text(kind: EventType) -> str:
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _short(root: Path, path: Path) -> str:
    return str(path.relative_to(root.parent))
