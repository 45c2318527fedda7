"""Log lines tell where something broke, never what a caller said, who they are, or a secret."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from api.trace import begin
from infra.apps.listening import listen
from infra.apps.logs import logging_to
from infra.apps.web import serving
from infra.settings import load_settings
from tests.infra.apps.command import aybiza

SECRET = "+12025557177"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A log file; afterwards logging is as it was."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    with logging_to(tmp_path / "log"):
        yield tmp_path / "log"
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


def break_with(words: str) -> None:
    try:
        list[str]().index(words)
    except ValueError as cause:
        raise ExceptionGroup(f"about {words}", [KeyError(words), OSError(2, words)]) from cause


class TestAnError:
    def test_is_told_by_place_and_kind_without_its_own_words(self, log: Path) -> None:
        try:
            break_with(SECRET)
        except ExceptionGroup as fault:
            structlog.get_logger().error("broke", exc_info=fault)
        (line,) = lines(log)
        assert SECRET not in log.read_text("utf-8")
        assert "index(words)" in line["exception"]
        assert [each for each in line["exception"].splitlines() if each.startswith("builtins.")] == [
            "builtins.ValueError", "builtins.ExceptionGroup", "builtins.KeyError", "builtins.FileNotFoundError 2",
        ]  # fmt: skip

    def test_of_a_library_is_told_so_too(self, log: Path) -> None:
        try:
            break_with(SECRET)
        except ExceptionGroup:
            logging.getLogger("uvicorn.error").exception("in the application")
        (line,) = lines(log)
        assert SECRET not in log.read_text("utf-8")
        assert "builtins.KeyError" in line["exception"]

    async def test_in_a_callback_is_told_without_its_arguments(self, log: Path) -> None:
        broken = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(break_with, SECRET)
        asyncio.get_running_loop().call_soon(broken.set_result, None)
        await broken
        (line,) = lines(log)
        assert SECRET not in str(line)
        assert line["event"].startswith("Exception in callback")
        assert "builtins.KeyError" in line["exception"]


class TestTheLogsOfACall:
    def test_hold_no_word_no_number_and_no_secret(self, tmp_path: Path) -> None:
        if load_settings().kafka_bootstrap_servers is not None:
            pytest.fail("this test brings up a stack of its own; unset KAFKA_BOOTSTRAP_SERVERS")
        try:
            called = aybiza("call", "Yes, you may.", "Thanks a lot, goodbye.", "--caller", SECRET, state_dir=tmp_path)
        finally:
            aybiza("down", state_dir=tmp_path)
        assert called.returncode == 0, called.stderr
        written = {path: path.read_bytes().lower() for path in tmp_path.rglob("*.log")}
        keys = [path.read_bytes() for path in (tmp_path / "keys").iterdir() if path.suffix in (".key", ".token", ".secret")]
        assert len(keys) >= 4
        said = [b"12025557177", b"2025550143", b"yes you may", b"thanks a lot", b"speaking with an ai"]
        secrets = [*said, b"aybiza_operator_", b"bearer ", *(key.hex().encode() for key in keys), *(key.lower() for key in keys)]
        assert not [(path, secret) for path, text in written.items() for secret in secrets if secret in text]
        # The same search finds what is there: the call in the logs, and what was said where it belongs.
        assert b"call ended" in written[tmp_path / "logs" / "platform.log"]
        assert all(each in (called.stdout.lower().encode()) for each in said[:1] + said[3:])


async def test_of_a_request_that_broke_has_its_trace_and_nothing_of_whoever_asked(log: Path) -> None:
    secret = "marguerite@example.com"

    app = FastAPI()

    @app.get("/v1/people/me")
    async def broken() -> None:
        begin(b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01", os.urandom)
        raise RuntimeError(secret)

    listening = listen("127.0.0.1", None)
    async with serving(app, listening), httpx.AsyncClient() as client:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/people/me?email={secret}"
        assert (await client.get(address, headers={"Authorization": f"Bearer {secret}"})).status_code == 500
    listening.close()
    told = lines(log)
    (line,) = [each for each in told if each["level"] == "error"]
    assert line["trace_id"] == "ab" * 16
    assert "builtins.RuntimeError" in line["exception"]
    assert secret not in json.dumps(told)
