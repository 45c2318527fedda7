"""What an append is told where brokers answer as they seldom do: never more than is certain, and nothing is spoilt for the next one."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
from aiokafka.record.memory_records import MemoryRecords
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from commands.ports import AppendInDoubt, LogAway, NewRecord, Place
from infra.adapters.kafka.security import KafkaSecurity
from infra.adapters.kafka.writer import KafkaLog
from tests.infra.adapters.scripted_broker import Appended, scripted_broker

FIRST, SECOND = Place("scripted", 0), Place("scripted", 1)
RECORD = NewRecord(b"key", b"value", 1_000, [("name", b"value")])
REQUEST_TIMED_OUT, DUPLICATE_SEQUENCE, MESSAGE_TOO_LARGE, NOT_LEADER = 7, 46, 10, 6


def taken(appended: Appended) -> dict[tuple[str, int], tuple[int, int]]:
    return dict.fromkeys(appended, (0, 42))


class TestAppend:
    async def test_that_failed_is_not_covered_up_by_one_that_went_with_it(self) -> None:
        failing: list[Place] = []
        async with (
            scripted_broker(lambda appended: {place: (REQUEST_TIMED_OUT if place in failing else 0, 42) for place in appended}) as broker,
            KafkaLog(broker.address) as log,
        ):
            await together(log, 4)
            failing.append(FIRST)
            one, other = (asyncio.ensure_future(log.append(place, [RECORD])) for place in (FIRST, SECOND))
            await asyncio.wait([one, other])
            with pytest.raises(AppendInDoubt, match="RequestTimedOut"):
                await one
            assert await other == 42
            assert set(broker.requests[-1]) == {FIRST, SECOND}

    @pytest.mark.parametrize("code", [REQUEST_TIMED_OUT, DUPLICATE_SEQUENCE, NOT_LEADER])
    async def test_with_any_answer_but_a_clean_one_is_in_doubt(self, code: int) -> None:
        # A duplicate of what was taken has no offset, and a leader that resigned may have kept it.
        async with scripted_broker(lambda appended: dict.fromkeys(appended, (code, -1))) as broker, KafkaLog(broker.address) as log:
            with pytest.raises(AppendInDoubt):
                await log.append(FIRST, [RECORD])

    async def test_without_an_offset_says_that_it_does_not_know_it(self) -> None:
        async with scripted_broker(lambda appended: dict.fromkeys(appended, (0, -1))) as broker, KafkaLog(broker.address) as log:
            assert await log.append(FIRST, [RECORD]) < 0

    async def test_that_the_broker_certainly_did_not_take_is_not_in_doubt(self) -> None:
        async with (
            scripted_broker(lambda appended: dict.fromkeys(appended, (MESSAGE_TOO_LARGE, -1))) as broker,
            KafkaLog(broker.address) as log,
        ):
            with pytest.raises(LogAway, match="refused"):
                await log.append(FIRST, [RECORD])

    async def test_that_the_answer_leaves_out_is_in_doubt(self) -> None:
        async with scripted_broker(lambda _: {}) as broker, KafkaLog(broker.address) as log:
            with pytest.raises(AppendInDoubt, match="leaves it out"):
                await log.append(FIRST, [RECORD])

    async def test_that_ran_out_of_time_spoils_nothing_for_the_next_one(self) -> None:
        silent = [True]
        async with (
            scripted_broker(lambda appended: None if silent[0] else taken(appended)) as broker,
            KafkaLog(broker.address, append_seconds=1.0) as log,
        ):
            with pytest.raises(AppendInDoubt, match="no answer"):
                await log.append(FIRST, [RECORD])
            await log.sever(FIRST)
            silent[0] = False
            assert await log.append(FIRST, [RECORD]) == 42
            # On a connection of its own: the severed one may still deliver what it had.
            assert broker.connections >= 3

    async def test_that_found_no_leader_was_never_sent(self) -> None:
        async with scripted_broker(taken) as broker:
            broker.led = False
            async with KafkaLog(broker.address, append_seconds=1.0) as log:
                with pytest.raises(LogAway, match="no leader"):
                    await log.append(FIRST, [RECORD])
                broker.led = True
                assert await log.append(FIRST, [RECORD]) == 42
            assert len(broker.requests) == 1

    async def test_is_numbered_by_nobody(self) -> None:
        # Sequence numbers of a producer wrap, and are lost with a batch that expired: there are none.
        async with scripted_broker(taken) as broker, KafkaLog(broker.address) as log:
            for _ in range(2):
                await log.append(FIRST, [RECORD, RECORD])
        for request in broker.requests:
            batch = MemoryRecords(request[FIRST]).next_batch()
            assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (-1, -1, -1)

    async def test_keeps_no_process_from_stopping_while_the_broker_is_silent(self) -> None:
        async with scripted_broker(lambda _: None) as broker:
            async with asyncio.timeout(30):
                async with KafkaLog(broker.address, append_seconds=60) as log:
                    asked = asyncio.ensure_future(log.append(FIRST, [RECORD]))
                    while not broker.requests:
                        await asyncio.sleep(0)
            with pytest.raises(AppendInDoubt):
                await asked

    async def test_that_all_who_waited_gave_up_holds_nobody_up_for_long(self) -> None:
        silent = [True]
        async with (
            scripted_broker(lambda appended: None if silent[0] else taken(appended)) as broker,
            KafkaLog(broker.address, append_seconds=0.1) as log,
        ):
            for number in range(2):
                asked = asyncio.ensure_future(log.append(Place("scripted", number), [RECORD]))
                while len(broker.requests) == number:
                    await asyncio.sleep(0)
                asked.cancel()
            silent[0] = False
            with pytest.raises(LogAway):
                await log.append(Place("scripted", 2), [RECORD])
            assert await log.append(Place("scripted", 3), [RECORD]) == 42

    async def test_goes_with_half_of_all_that_are_usual_at_a_time(self) -> None:
        async with scripted_broker(taken) as broker, KafkaLog(broker.address) as log:
            for _ in range(5):
                await together(log, 4)
        assert {len(request) for request in broker.requests[-4:]} == {2}

    async def test_behind_two_that_are_not_answered_is_not_sent(self) -> None:
        async with scripted_broker(lambda _: None) as broker, KafkaLog(broker.address, append_seconds=0.3) as log:
            asked = []
            for number in range(2):
                asked.append(asyncio.ensure_future(log.append(Place("scripted", number), [RECORD])))
                while len(broker.requests) == number:
                    await asyncio.sleep(0)
            asked += [asyncio.ensure_future(log.append(Place("scripted", number), [RECORD])) for number in (2, 3)]
            await asyncio.wait(asked)
            assert len(broker.requests) == 2
        assert [type(each.exception()) for each in asked] == [AppendInDoubt, AppendInDoubt, LogAway, LogAway]


async def together(log: KafkaLog, many: int) -> None:
    """Append to so many partitions in one turn."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(many):
            tasks.create_task(log.append(Place("scripted", number), [RECORD]))


class TestSecurity:
    async def test_says_who_we_are(self) -> None:
        async with scripted_broker(taken) as broker:
            security = KafkaSecurity(mechanism="PLAIN", username="owner", password="secret")
            async with KafkaLog(broker.address, security=security) as log:
                assert await log.append(FIRST, [RECORD]) == 42
        assert set(broker.passwords) == {b"\0".join((b"owner", b"owner", b"secret"))}
        assert "secret" not in repr(security)

    async def test_encrypts_and_checks_the_broker(self, tmp_path: Path) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate(tmp_path))
        trusting = ssl.create_default_context(cafile=str(tmp_path / "broker.pem"))
        async with scripted_broker(taken, server) as broker, KafkaLog(broker.address, security=KafkaSecurity(tls=trusting)) as log:
            assert await log.append(FIRST, [RECORD]) == 42
            with pytest.raises(LogAway):
                async with KafkaLog(broker.address, security=KafkaSecurity(tls=ssl.create_default_context())):
                    pass

    @pytest.mark.parametrize(
        ("security", "protocol"),
        [
            (KafkaSecurity(), "PLAINTEXT"),
            (KafkaSecurity(mechanism="SCRAM-SHA-512"), "SASL_PLAINTEXT"),
            (KafkaSecurity(tls=ssl.create_default_context()), "SSL"),
            (KafkaSecurity(tls=ssl.create_default_context(), mechanism="SCRAM-SHA-256"), "SASL_SSL"),
        ],
    )
    def test_is_one_of_kafkas_four(self, security: KafkaSecurity, protocol: str) -> None:
        assert security.options()["security_protocol"] == protocol


def certificate(folder: Path) -> Path:
    """Of a broker on this machine, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "broker.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
