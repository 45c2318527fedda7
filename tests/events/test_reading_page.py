"""The page for readers in other languages is true: its example is what we write, and is read by what the page says and nothing else."""

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from avro.io import BinaryDecoder, DatumReader
from avro.schema import parse
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PAGE = Path(__file__).resolve().parents[2] / "schemas" / "reading.md"
KEY = bytes(range(32))
SUBJECT = "AYB-EXMP-LEXX-XXXX/caller-1"


def block(name: str) -> Any:
    """A fenced block of the page."""
    return json.loads(PAGE.read_text("utf-8").split(f"```json {name}\n")[1].split("```")[0])


class TestExample:
    def test_is_read_with_nothing_but_the_page(self) -> None:
        """No code of ours from here on: struct, an Avro library, AES-GCM, and what the page says."""
        schemas = {key: parse(json.dumps(schema)) for key, schema in block("schemas").items()}
        for key, schema in block("schemas").items():
            assert crc_64_avro(canonical_form(schema)).to_bytes(8, "little").hex() == key
        fence, facts, reached = (0, bytes(16)), [], 0
        for record in block("records"):
            packed = bytes.fromhex(record["headers"]["aybiza"])
            fields = struct.unpack_from(">BBQ16sQ16sHH16s16sq16sH16s16s8sBB", packed)
            layout, kind, term, claim_id, version, commit_id, index, count = fields[:8]
            assert (layout, len(packed)) == (1, 154 + fields[17])
            reached = record["offset"] + 1
            if kind == 1 and term > fence[0]:
                fence = (term, claim_id)
            elif kind == 0 and (term, claim_id) == fence:
                value = bytes.fromhex(record["value"])
                assert value[:2] == b"\xc3\x01"
                schema = schemas[value[2:10].hex()]
                body: Any = DatumReader(schema).read(BinaryDecoder(BytesIO(value[10:])))
                body["subject"] = opened(body["subject"])
                facts.append(
                    {
                        "offset": record["offset"], "type": record["headers"]["ce_type"], "stream": record["key"], "version": version,
                        "commit": commit_id.hex(), "index": index, "of": count, "actor": packed[154:].decode(),
                        "happened": (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=fields[10])).isoformat(), "body": body,
                    }
                )  # fmt: skip
        assert {"reached": reached, "term": fence[0], "claim_id": fence[1].hex(), "facts": facts} == block("facts")

    def test_lies_on_the_partition_that_the_page_names(self) -> None:
        (key,) = {record["key"] for record in block("records")} - {""}
        assert f"on partition {(murmur2(key.encode()) & 0x7FFFFFFF) % 8} of 8" in PAGE.read_text("utf-8")

    def test_names_the_key_that_opens_it(self) -> None:
        assert f"`{KEY.hex()}`" in PAGE.read_text("utf-8")

    def test_is_what_our_writer_writes(self) -> None:
        from tests.events.reading_page import records, schemas  # noqa: PLC0415 - the other tests use no code of ours

        assert block("records") == records(SUBJECT, KEY)
        assert block("schemas") == schemas()

    def test_names_every_kind_of_record_there_is(self) -> None:
        from tests.events.reading_page import headers  # noqa: PLC0415

        assert headers() in PAGE.read_text("utf-8")


def opened(sealed: Mapping[str, Any]) -> str:
    box = sealed["box"]
    return AESGCM(KEY).decrypt(box[:12], box[12:], sealed["subject"].encode()).decode()


def murmur2(data: bytes) -> int:
    """As Kafka's clients have it, written out once more."""
    hashed = 0x9747B28C ^ len(data)
    words = len(data) // 4
    for (word,) in struct.iter_unpack("<I", data[: 4 * words]):
        mixed = word * 0x5BD1E995 & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        hashed = hashed * 0x5BD1E995 & 0xFFFFFFFF ^ mixed
    if rest := data[4 * words :]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & 0xFFFFFFFF
    hashed = (hashed ^ hashed >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return hashed ^ hashed >> 15


def crc_64_avro(text: str) -> int:
    """As the Avro specification has it: the Rabin fingerprint with the empty value 0xC15D213AA4D7A795."""
    empty = 0xC15D213AA4D7A795
    table = []
    for number in range(256):
        entry = number
        for _ in range(8):
            entry = entry >> 1 ^ (empty if entry & 1 else 0)
        table.append(entry)
    fingerprint = empty
    for byte in text.encode():
        fingerprint = fingerprint >> 8 ^ table[(fingerprint ^ byte) & 0xFF]
    return fingerprint


def canonical_form(schema: Any, namespace: str = "") -> str:
    """Avro's parsing canonical form, for the kinds of schema that the example has."""
    match schema:
        case str():
            return json.dumps(schema)
        case list():
            return f"[{','.join(canonical_form(each, namespace) for each in schema)}]"
        case {"type": "record", "name": name, "fields": entries}:
            space = schema.get("namespace", namespace)
            fields: Sequence[str] = [f'{{"name":"{each["name"]}","type":{canonical_form(each["type"], space)}}}' for each in entries]
            return f'{{"name":"{space}.{name}","type":"record","fields":[{",".join(fields)}]}}'
        case {"type": plain}:
            return canonical_form(plain, namespace)
        case _:
            raise AssertionError(schema)
