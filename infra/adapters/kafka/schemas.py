"""The log's own schemas: a compacted topic from fingerprint (hex) to schema (JSON), written before first use, read by whoever lacks one."""

import asyncio
import json
import time
from collections.abc import Iterable

import structlog
from fastavro.schema import SchemaParseException

from commands.ports import AppendInDoubt, Log, LogAway, NewRecord, Place
from events.codec import Codec
from events.records import RawRecord
from events.registry import EventType

log = structlog.get_logger()

TOPIC = "aybiza.schemas"
_HEADERS = [("content-type", b"application/schema+json")]
_AGAIN_SECONDS = 0.2
_SAY_EVERY_SECONDS = 10.0


class SchemaTopic:
    """`commands.ports.SchemaRegister`, and the readers' way to a schema they lack. What it reads, its codec knows."""

    def __init__(self, kafka: Log, codec: Codec, topic: str = TOPIC) -> None:
        self.codec = codec
        self._kafka = kafka
        self._place = Place(topic, 0)
        self._read_to = 0
        self._on_the_log: set[bytes] = set()
        self._registered: set[EventType] = set()
        self._turn = asyncio.Lock()

    async def register(self, kinds: Iterable[EventType]) -> None:
        """As the port says. Two processes that race write the same entry twice, which is harmless: the key decides what it says.

        An entry that was read counts, for readers see only what all replicas have; one that is in doubt is written again.
        """
        if self._registered.issuperset(wanted := set(kinds)):
            return
        async with self._turn:
            await self._read_on()
            missing = [entry for entry in map(self.codec.schema_of, wanted) if entry[0] not in self._on_the_log]
            if missing:
                now_ms = time.time_ns() // 1_000_000
                records = [
                    NewRecord(mark.hex().encode(), json.dumps(schema, sort_keys=True).encode(), now_ms, _HEADERS)
                    for mark, schema in missing
                ]
                try:
                    await self._kafka.append(self._place, records)
                except AppendInDoubt as error:
                    await self._kafka.sever(self._place)
                    raise LogAway(f"it is not certain that the schemas are on {self._place.topic}; they are written again") from error
                self._on_the_log.update(mark for mark, _ in missing)
            self._registered |= wanted

    async def learn(self, marks: Iterable[bytes]) -> None:
        """Returns once the codec knows every fingerprint; until then it goes on asking, and says so."""
        unknown = [mark for mark in marks if not self.codec.knows(mark)]
        said = 0.0
        while unknown:
            try:
                async with self._turn:
                    await self._read_on()
            except LogAway as error:
                log.warning("schemas-away", reason=str(error))
            unknown = [mark for mark in unknown if not self.codec.knows(mark)]
            if unknown:
                if time.monotonic() - said > _SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    log.error("schema-missing", fingerprints=[mark.hex() for mark in unknown], topic=self._place.topic)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _read_on(self) -> None:
        end = await self._kafka.end_offset(self._place)
        async for records in self._kafka.read(self._place, self._read_to, end):
            for raw in records:
                self._take(raw)
            if records:
                self._read_to = records[-1].offset + 1

    def _take(self, raw: RawRecord) -> None:
        try:
            named = bytes.fromhex(raw.key.decode())
        except ValueError:
            log.warning("schema-broken", topic=raw.topic, offset=raw.offset, reason="its key is no fingerprint")
            return
        try:
            found = self.codec.learn(raw.value)
        except (ValueError, KeyError, TypeError, SchemaParseException) as error:
            found, why = b"", f"{type(error).__name__}: {error}"
        else:
            why = "it is not the one that its key names"
        if found == named:
            self._on_the_log.add(named)
            return
        log.error("schema-broken", topic=raw.topic, offset=raw.offset, reason=why)
        # The topic keeps the last entry of a key only: what stood there before may be gone. Whoever uses it next writes it again.
        self._on_the_log.discard(named)
        self._registered = {kind for kind in self._registered if self.codec.schema_of(kind)[0] != named}
