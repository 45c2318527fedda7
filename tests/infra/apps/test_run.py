"""`aybiza run all` as its users meet it: up with an address, healthy, and gone cleanly when it is told to stop."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from infra.local.stack import Addresses

_SECONDS = 120


@pytest.fixture
def environment(stack: Addresses, database: str, tmp_path: Path) -> dict[str, str]:
    own = {"AYBIZA_STATE_DIR": str(tmp_path), "KAFKA_BOOTSTRAP_SERVERS": stack.kafka, "DATABASE_URL": database, "REDIS_URL": stack.redis}
    return {**os.environ, **own}


async def started(environment: dict[str, str]) -> tuple[asyncio.subprocess.Process, str]:
    """The process, and the address that it says."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.apps", "run", "all", env=environment, stdout=pipe, stderr=pipe
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(_SECONDS):
        line = (await process.stdout.readline()).decode()
    found = re.match(r"http://\S+", line)
    assert found, line
    return process, found[0]


class TestRunAll:
    async def test_says_where_it_is_is_ready_and_stops_cleanly_on_sigterm(self, environment: dict[str, str]) -> None:
        process, url = await started(environment)
        try:
            async with aiohttp.ClientSession(url) as http:
                async with http.get("/health") as answer:
                    health = await answer.json()
                    assert (answer.status, health["live"], health["ready"]) == (200, True, True)
                async with http.get("/docs") as answer:
                    assert answer.status == 200
                async with http.post("/twilio/voice", data={"CallSid": "CA" + "0" * 32}) as answer:
                    assert answer.status == 403
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0
        assert b"Traceback" not in out + err
        assert list((Path(environment["AYBIZA_STATE_DIR"]) / "processes").iterdir()) == []
        # What it logs is for programs: a JSON object a line.
        assert all(json.loads(line)["event"] for line in err.decode().splitlines() if line.startswith("{"))

    async def test_says_in_a_sentence_what_is_away(self, environment: dict[str, str]) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "infra.apps", "run", "all", env={**environment, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            _, err = await process.communicate()
        assert process.returncode == 1
        assert b"Traceback" not in err
        assert b"unset KAFKA_BOOTSTRAP_SERVERS" in err
