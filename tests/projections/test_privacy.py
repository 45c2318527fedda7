"""No name, number or word of a person lies in the read models in clear."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from events.calls.talking import CallerTurn
from events.calls.thinking import ToolAnswered, ToolRequested
from events.consents import ConsentGranted, Purpose
from events.memberships import PersonInvited
from events.numbers import NumberAssigned
from events.people import PersonRegistered, TotpOffered
from events.sealing import KeyRing
from events.streams import PLATFORM, StreamId
from infra.adapters.keyfile import open_key_ring
from infra.adapters.redis import connected as redis_connected
from infra.apps.read_side import running_read_side
from projections.calls import LIVE_CALLS
from tests.projections.facts import CALL, answered, received
from tests.projections.log import open_log
from tests.projections.told import AYB

EMAIL, HASH, TOTP_SECRET = "marguerite@example.com", "$argon2id$v=19$m=8", "GEZDGNBVGY3TQOJQ"
CALLER, NUMBER, WORDS = "+14165550123", "+14165550177", "my name is Marguerite Duplessis"


def history(key_ring: KeyRing) -> tuple[str, list[tuple[StreamId, object]]]:
    caller_ref, number_ref = key_ring.reference(AYB, CALLER), key_ring.reference(PLATFORM, NUMBER)
    number, caller, words = (
        key_ring.seal(subject, text) for subject, text in ((AYB, NUMBER), (f"{AYB}/{caller_ref}", CALLER), (f"{AYB}/{caller_ref}", WORDS))
    )  # fmt: skip
    email_ref = key_ring.reference(PLATFORM, EMAIL)
    email, name, password, secret = (key_ring.seal("USR-1", text) for text in (EMAIL, "Marguerite Duplessis", HASH, TOTP_SECRET))
    asked = ToolRequested(turn=1, tool_use_id="t", tool="crm", arguments=words, idempotent=True, at_ms=3, filler=words)
    return caller_ref, [
        (CALL, received(caller=caller, caller_ref=caller_ref, number=number, number_ref=number_ref)),
        (CALL, answered()),
        (CALL, CallerTurn(turn=1, words=words, started_ms=1, ended_ms=2, recognised_ms=3, confidence=0.9)),
        (CALL, asked),
        (CALL, ToolAnswered(turn=1, tool_use_id="t", tool="crm", answer=words, failed=False, at_ms=4)),
        (StreamId(AYB, "consents", caller_ref), ConsentGranted(subject=caller, purpose=Purpose.RECORDING, evidence="turn 1")),
        (StreamId(PLATFORM, "numbers", number_ref), NumberAssigned(organisation_id=AYB, agent_id="agt_1", number=number)),
        (StreamId(PLATFORM, "people", "USR-1"), PersonRegistered(email=email, email_ref=email_ref, name=name, password=password)),
        (StreamId(PLATFORM, "people", "USR-1"), TotpOffered(secret=secret)),
        (
            StreamId(AYB, "invitations", "inv_1"),
            PersonInvited(email=email, email_ref=email_ref, role="owner", token_ref="t", expires_at=datetime(2026, 12, 1, tzinfo=UTC)),
        ),
    ]


async def everything_in(dsn: str) -> bytes:
    """Every row of every table, as PostgreSQL would hand it to anybody."""
    connection = await asyncpg.connect(dsn)
    found = bytearray()

    async def take(part: bytes) -> None:
        found.extend(part)

    try:
        tables = await connection.fetch(
            "SELECT n.nspname AS schemaname, c.relname AS tablename FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND (n.nspname LIKE 'p\\_%' OR n.nspname = 'read_side')"
        )
        assert len(tables) > 10
        for table in tables:
            await connection.copy_from_table(table["tablename"], schema_name=table["schemaname"], output=take, format="binary")
    finally:
        await connection.close()
    return bytes(found)


class TestReadModels:
    async def test_hold_nothing_of_a_person_in_clear(
        self, kafka: str, database: str, redis_url: str, redis_prefix: str, unique: str, tmp_path: Path
    ) -> None:
        key_ring, store = open_key_ring(tmp_path / "wrapping.key")
        caller_ref, written = history(key_ring)
        async with open_log(kafka, unique) as log:
            async with running_read_side(
                log.reader, log.dispatch, postgres=database, redis=redis_url, rates=(), topic_of=log.topic_of, prefix=redis_prefix
            ) as side:
                committed = [await log.append(stream, fact) for stream, fact in written]
                assert await side.rows.wait_for([each.position for each in committed], 120)
                async with asyncio.timeout(120):
                    while not await side.live.find(LIVE_CALLS, organisation=AYB):
                        await asyncio.sleep(0)
            async with redis_connected(redis_url) as client:
                live = [str(await client.hgetall(key)) async for key in client.scan_iter(match=f"{redis_prefix}*call_*")]
        store.close()
        rows, hashes = await everything_in(database), "".join(live).encode()
        assert caller_ref.encode() in rows
        assert caller_ref.encode() in hashes
        for personal in (CALLER, NUMBER, "Marguerite", "Duplessis", "4165550123", "4165550177", EMAIL, "marguerite", HASH, TOTP_SECRET):
            for spelling in (personal.encode(), personal.encode("utf-16-le"), personal.encode().hex().encode()):
                assert spelling not in rows
                assert spelling not in hashes
