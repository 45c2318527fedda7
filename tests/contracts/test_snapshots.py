"""What owners may expect of what keeps their snapshots: the compacted topic, and paper."""

from collections.abc import AsyncIterator

import pytest

from commands.ports import Snapshots
from infra.adapters.kafka.snapshots import KafkaSnapshots
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from tests.paper_snapshots import PaperSnapshots

MANIFEST = [manifest for manifest in manifests() if manifest.room == "snapshots"]
KEYS = [f"t/flags/{number}".encode() for number in range(30)]


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka) as log:
        yield log


@pytest.fixture
async def on_kafka(kafka: str, unique: str, log: KafkaLog) -> KafkaSnapshots:
    ((topic, partitions),) = (await ensure_topics(kafka, MANIFEST, "local", prefix=unique)).items()
    return KafkaSnapshots(log, partitions, topic)


@pytest.fixture(params=["kafka", "paper"])
def snapshots(request: pytest.FixtureRequest, on_kafka: KafkaSnapshots) -> Snapshots:
    return on_kafka if request.param == "kafka" else PaperSnapshots()


class TestSnapshots:
    async def test_are_found_by_their_streams(self, snapshots: Snapshots) -> None:
        await snapshots.keep({key: b"state of " + key for key in KEYS})
        assert await snapshots.find([*KEYS[:3], b"t/flags/none"]) == {key: b"state of " + key for key in KEYS[:3]}

    async def test_take_the_place_of_older_ones(self, snapshots: Snapshots) -> None:
        await snapshots.keep({KEYS[0]: b"old", KEYS[1]: b"other"})
        await snapshots.keep({KEYS[0]: b"new"})
        assert await snapshots.find(KEYS[:2]) == {KEYS[0]: b"new", KEYS[1]: b"other"}


class TestTopic:
    async def test_tells_other_processes(self, on_kafka: KafkaSnapshots, log: KafkaLog) -> None:
        await on_kafka.keep(dict.fromkeys(KEYS, b"state"))
        other = KafkaSnapshots(log, 8, on_kafka._places[0].topic)  # noqa: SLF001
        assert await other.find(KEYS[:1]) == {}
        await other.catch_up()
        assert len(other) == len(KEYS)
        assert await other.find(KEYS) == dict.fromkeys(KEYS, b"state")

    async def test_takes_as_many_batches_as_are_needed_and_leaves_out_what_fits_none(self, on_kafka: KafkaSnapshots) -> None:
        large = {key: bytes(200_000) for key in KEYS}
        await on_kafka.keep({**large, b"t/flags/huge": bytes(600_000)})
        assert len(on_kafka) == len(KEYS)
        assert (await on_kafka.find(KEYS[:1]))[KEYS[0]] == bytes(200_000)
