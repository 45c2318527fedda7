"""The broker is killed in the middle of a call: the talk goes on, nothing is recorded on trust, and nothing is lost when it is back."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from events.calls.talking import CallerTurn
from events.recorded import Recorded
from events.registry import Fact
from infra.local.stack import ensure_stack, stack_status, stop_stack
from infra.settings import Settings
from projections.calls import Recording
from tests.spoken.conversations import House, on_the_log, opened_house

WORDS = (
    "Yes, you may.",
    "What time do you close on Fridays?",
    "Please stop the recording.",
    "Thanks a lot, goodbye.",
)


def unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


def is_second_turn(found: Recorded[Fact]) -> bool:
    return isinstance(found.fact, CallerTurn) and found.fact.turn == 2


async def readiness(house: House) -> tuple[int, set[str]]:
    """What the process says of itself: the status, and the parts that it needs and has not."""
    async with aiohttp.ClientSession(house.platform.url) as http, http.get("/health") as answer:
        checks = (await answer.json())["checks"]
        return answer.status, {check["name"] for check in checks if check["needed"] and not check["ready"]}


class TestACallWhoseLogGoesAway:
    async def test_goes_on_and_is_whole_when_the_log_is_back(self, settings: Settings, tmp_path: Path) -> None:
        own = settings.model_copy(update={"state_dir": tmp_path / "state"})
        if own.kafka_bootstrap_servers is not None:
            pytest.fail("this test kills its broker; unset KAFKA_BOOTSTRAP_SERVERS")
        stack = await ensure_stack(own.state_dir, own, unheard)
        try:
            async with opened_house(own, stack, tmp_path) as house, asyncio.TaskGroup() as tasks:
                ringing = tasks.create_task(house.ring("away", *WORDS, caller="+12025554001"), name="the call")
                await on_the_log(house.platform.reader, "calls", is_second_turn)
                (broker,) = [each for each in await stack_status(own.state_dir, own) if each.name == "kafka"]
                assert broker.pid is not None
                os.kill(broker.pid, signal.SIGKILL)
                record = await ringing
                assert await readiness(house) == (503, {"log"})
                assert [each.text for each in record.said] == list(WORDS)
                await ensure_stack(own.state_dir, own, unheard)
                told = await house.told("away", record)
                assert await readiness(house) == (200, set())
        finally:
            await stop_stack(own.state_dir, own, unheard)
        call = told.story.call
        assert call.end_reason == "goodbye"
        assert call.facts_lost == 0
        assert call.turns == len(WORDS)
        answers = told.answers()
        assert "four in the afternoon" in answers
        assert "stopped recording" in answers
        assert call.recording is Recording.STOPPED
        stopped = told.all("recording-stopped")[0].entry.at_ms or 0
        withdrawn = next(each.entry for each in told.all("caller-turn") if each.entry.turn == 3)
        assert 0 <= stopped - (withdrawn.ended_ms or 0) < 2500
        assert [word.granted for word in told.story.consents] == [True, False]
