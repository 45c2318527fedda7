"""What `schemas/reading.md` shows, made by the code that writes the log. `python -m tests.events.reading_page` writes it into the page."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events import headers as packing
from events.codec import Codec
from events.consents import ConsentGranted, Purpose
from events.headers import Kind, RecordHeader
from events.ownership import PartitionClaimed
from events.records import write_headers
from events.registry import Fact, type_of
from events.sealing import Sealed
from events.streams import StreamId, partition_of

PAGE = Path(__file__).resolve().parents[2] / "schemas" / "reading.md"
FIRST, SECOND = bytes.fromhex("a1" * 16), bytes.fromhex("b2" * 16)
STREAM = StreamId("AYB-EXMP-LEXX-XXXX", "consents", "c-1")
AT = datetime(2026, 11, 20, 9, 30, 0, 250_000, UTC)
SECONDS = int(AT.timestamp())


def records(subject: str, key: bytes) -> list[dict[str, Any]]:
    """Two owners' claims; a fact of the first, and one that it wrote when the second had claimed already."""
    nonce = b"twelve bytes"
    sealed: Sealed[str] = Sealed(subject, nonce + AESGCM(key).encrypt(nonce, b"+15550100", subject.encode()))
    granted = ConsentGranted(subject=sealed, purpose=Purpose.RECORDING, evidence="recording-7#12.5s")
    late = ConsentGranted(subject=sealed, purpose=Purpose.SERVICE_CALLS, evidence="form-3")
    return [
        _record(0, Kind.CLAIM, 1, FIRST, PartitionClaimed(address="10.0.0.1:7400/5f0c11aa"), b""),
        _record(1, Kind.EVENT, 1, FIRST, granted, STREAM.key),
        _record(2, Kind.CLAIM, 2, SECOND, PartitionClaimed(address="10.0.0.2:7400/91d3e7b0"), b""),
        _record(3, Kind.EVENT, 1, FIRST, late, STREAM.key),
    ]


def _record(offset: int, kind: Kind, term: int, claim_id: bytes, fact: Fact, key: bytes) -> dict[str, Any]:
    written = kind is Kind.EVENT
    commit_id = claim_id[:10] + offset.to_bytes(6, "big") if written else claim_id
    header = RecordHeader(
        kind=kind, term=term, claim_id=claim_id, version=(offset + 1) // 2 if written else 0, commit_id=commit_id,
        command_id=bytes([offset]) * 16 if written else bytes(16), digest=bytes([0xD0 + offset]) * 16 if written else bytes(16),
        occurred_at_us=SECONDS * 1_000_000 + 250_000 if written else 0, actor="USR-EXAMPLEXXX" if written else "",
    )  # fmt: skip
    headers = write_headers("consents", type_of(fact).ce_type, f"{commit_id.hex()}-0", header.pack())
    return {
        "offset": offset,
        "timestamp": SECONDS * 1000 + 300 + offset,
        "key": key.decode(),
        "headers": {name: value.hex() if name == packing.HEADER else value.decode() for name, value in headers},
        "value": Codec().encode(fact).hex(),
    }


def schemas() -> dict[str, Any]:
    """The schema of the example's facts, by fingerprint."""
    mark, schema = Codec().schema_of(type_of(ConsentGranted(subject=Sealed("", b""), purpose=Purpose.RECORDING, evidence="")))
    return {mark.hex(): schema}


def headers() -> str:
    """How the page names the kinds of records."""
    return "kind: " + ", ".join(f"{int(kind)} {kind.name.lower()}" for kind in Kind)


def facts() -> dict[str, Any]:
    """What a reader makes of it."""
    fact = {
        "offset": 1,
        "type": "consent-granted.v1",
        "stream": str(STREAM),
        "version": 1,
        "commit": (FIRST[:10] + (1).to_bytes(6, "big")).hex(),
        "index": 0,
        "of": 1,
        "actor": "USR-EXAMPLEXXX",
        "happened": AT.isoformat(),
        "body": {"subject": "+15550100", "purpose": "recording", "evidence": "recording-7#12.5s", "expires_at": None},
    }
    return {"reached": 4, "term": 2, "claim_id": SECOND.hex(), "facts": [fact]}


if __name__ == "__main__":
    from tests.events.test_reading_page import KEY, SUBJECT

    page = PAGE.read_text("utf-8").replace("PARTITION", str(partition_of(STREAM.key, 8))).replace("`KEY`", f"`{KEY.hex()}`")
    shown = {
        "records": "[\n" + ",\n".join(json.dumps(each) for each in records(SUBJECT, KEY)) + "\n]",
        "schemas": json.dumps(schemas()),
        "facts": json.dumps(facts(), indent=2),
    }
    for name, text in shown.items():
        before, _, rest = page.partition(f"```json {name}\n")
        page = f"{before}```json {name}\n{text}\n```{rest.partition('```')[2]}"
    PAGE.write_text(page, "utf-8")
