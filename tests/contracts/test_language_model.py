"""A language model keeps its port's promises, whether it is embedded or Bedrock behind its own SDK."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.adapters.bedrock.converse import open_bedrock
from infra.adapters.bedrock.wire import wire_request
from infra.emulators.bedrock.server import BedrockEmulator, Breaks, Closes, Rejected
from realtime.ports import EngineUnavailable, LanguageModel, Message, ModelStopped, TextDelta, TokenUsage, ToolOutcome, ToolUse
from tests.contracts.minds import aws, bedrock, question, reply_of, scripted

__all__ = ["aws"]
USE = ToolUse(tool_use_id="tooluse_1", name="find_appointments", arguments={"day": "tuesday"})


@pytest.fixture(params=["scripted", "bedrock"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    if request.param == "scripted":
        yield scripted()
    else:
        request.getfixturevalue("aws")
        async with bedrock() as (converse, _):
            yield converse


class TestLanguageModel:
    async def test_is_priced_as_bedrock(self, model: LanguageModel) -> None:
        assert model.name == "bedrock"

    async def test_streams_a_reply_in_pieces_and_says_what_it_cost(self, model: LanguageModel) -> None:
        events = [event async for event in model.converse(question("When are you open on Friday?"))]
        pieces = [event.text for event in events if isinstance(event, TextDelta)]
        assert "".join(pieces) == "On Friday we are open from eight in the morning until four in the afternoon."
        assert len(pieces) > 5
        assert isinstance(events[-1], ModelStopped)
        assert events[-1].reason == "end_turn"
        assert events[-1].usage.input_tokens > 100
        assert events[-1].usage.output_tokens == 19
        assert not events[-1].usage.estimated

    async def test_asks_for_a_tool_with_its_arguments(self, model: LanguageModel) -> None:
        _, uses, stopped = await reply_of(model, question("I would like to book a cleaning on Tuesday morning"))
        assert [(use.name, dict(use.arguments)) for use in uses] == [
            ("find_appointments", {"day": "tuesday", "part_of_day": "morning", "service": "cleaning"})
        ]
        assert stopped.reason == "tool_use"

    async def test_speaks_of_what_a_tool_has_answered(self, model: LanguageModel) -> None:
        outcome = ToolOutcome(tool_use_id="tooluse_1", content={"day": "tuesday", "times": ["09:15"], "open": True})
        text, uses, _ = await reply_of(
            model,
            question(
                "Is there anything free on Tuesday?",
                Message(role="assistant", tool_uses=(USE,)),
                Message(role="user", tool_outcomes=(outcome,)),
            ),
        )
        assert text == "On Tuesday I have nine fifteen. Shall I book that for you?"
        assert uses == []

    async def test_says_words_before_it_asks_for_a_tool(self, model: LanguageModel) -> None:
        text, uses, _ = await reply_of(model, question("Thank you, goodbye."))
        assert text == "Thank you for calling. Goodbye."
        assert [use.name for use in uses] == ["end_call"]

    async def test_stops_at_the_limit_of_tokens(self, model: LanguageModel) -> None:
        text, _, stopped = await reply_of(model, question("Tell me about your team", max_tokens=16))
        assert len(text) <= 64
        assert stopped.reason == "max_tokens"

    async def test_answers_several_at_once(self, model: LanguageModel) -> None:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(reply_of(model, question("Where can I park?"))) for _ in range(20)]
        assert len({task.result()[0] for task in asked}) == 1


@pytest.mark.usefixtures("aws")
class TestBedrock:
    async def test_passes_the_request_on_as_it_is(self) -> None:
        asked = question("Hello", "Hello. How can I help you?", "When are you open?")
        async with bedrock() as (model, emulator):
            await reply_of(model, asked)
        assert emulator.requests == [asked]

    async def test_frees_the_connection_at_once_when_the_reply_is_dropped(self) -> None:
        async with bedrock(scripted(first_word_ms=0, word_ms=600_000)) as (model, emulator):
            begun = asyncio.Event()

            async def listen() -> None:
                async for _ in model.converse(question("Tell me about your team")):
                    begun.set()

            listening = asyncio.create_task(listen())
            await begun.wait()
            assert emulator.streaming == 1
            listening.cancel()
            async with asyncio.timeout(120):
                with pytest.raises(asyncio.CancelledError):
                    await listening
                while emulator.streaming:
                    await asyncio.sleep(0)
            assert emulator.abandoned == 1

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Rejected(), "ThrottlingException"),
            (Rejected(status=403, code="AccessDeniedException"), "AccessDeniedException"),
            (Breaks(after=0), "modelStreamErrorException"),
            (Breaks(after=3, kind="throttlingException"), "throttlingException"),
            (Closes(after=3), "ClientPayloadError"),
        ],
    )
    async def test_that_fails_is_unavailable(self, fault: Rejected | Breaks | Closes, reason: str) -> None:
        # The SDK tries a second time where a second time may help.
        faults = [fault] * 2 if fault == Rejected() else [fault]
        async with bedrock(faults=faults) as (model, _):
            with pytest.raises(EngineUnavailable) as broke:
                await reply_of(model, question("When are you open?"))
            assert (broke.value.engine, broke.value.reason) == ("bedrock", reason)
            assert (await reply_of(model, question("When are you open?")))[0]

    async def test_that_nobody_listens_for_is_unavailable(self) -> None:
        async with BedrockEmulator(scripted()).serving() as url:
            pass
        async with open_bedrock(region="us-east-1", endpoint_url=url) as model:
            with pytest.raises(EngineUnavailable):
                await reply_of(model, question("Hello"))

    async def test_estimates_what_a_reply_cost_whose_account_did_not_come(self) -> None:
        async with bedrock(faults=[Closes(account=True)]) as (model, _):
            text, _, stopped = await reply_of(model, question("When are you open on Friday?"))
        assert text.endswith("afternoon.")
        assert stopped.usage.estimated
        assert stopped.usage.output_tokens == 19

    async def test_leaves_the_temperature_out_for_models_that_refuse_it(self) -> None:
        picky = "global.anthropic.claude-opus-4-7-v1"
        async with bedrock(without_sampling=("claude-opus-4-7",)) as (model, emulator):
            await reply_of(model, question("Hello", model=picky, temperature=0.3))
        assert emulator.requests[0].temperature is None


@pytest.mark.usefixtures("aws")
class TestBedrockContext:
    """Whatever a talk did to the context, the emulator, which is as strict as the service, accepts what is sent."""

    @pytest.mark.parametrize(
        "messages",
        [
            (),
            (Message(role="assistant", text="Hello"),),
            (Message(role="user", text="Hi"), Message(role="assistant", text="Hello")),
            (Message(role="user", text="  "), Message(role="assistant", text="Hello"), Message(role="user", text="")),
            (Message(role="user", text="Hi"), Message(role="user", text="When are you open?")),
            (Message(role="user", text="Hi"), Message(role="assistant", tool_uses=(USE,))),
            (Message(role="user", text="Hi"), Message(role="assistant", tool_uses=(USE,)), Message(role="user", text="Never mind")),
            (Message(role="user", text="Hi"), Message(role="assistant", tool_uses=(USE,)), Message(role="assistant", text="So...")),
            (
                Message(role="user", text="Hi"),
                Message(role="user", tool_outcomes=(ToolOutcome(tool_use_id="unknown", content="late"),)),
            ),
            (
                Message(role="user", text="Hi"),
                Message(role="assistant", text="Wait.", tool_uses=(USE,)),
                Message(role="user", text="And?", tool_outcomes=(ToolOutcome(tool_use_id="tooluse_1", content=[1, 2], failed=True),)),
            ),
            (
                Message(role="user", text="Hi"),
                Message(role="assistant", tool_uses=(USE,)),
                Message(role="user", tool_outcomes=(ToolOutcome(tool_use_id="tooluse_1", content=""),)),
            ),
        ],
    )
    async def test_is_made_acceptable(self, messages: tuple[Message, ...]) -> None:
        async with bedrock() as (model, emulator):
            await reply_of(model, question(*messages))
        assert len(emulator.requests) == 1

    def test_defines_tools_that_are_no_longer_offered(self) -> None:
        asked = question(
            "Hi",
            Message(role="assistant", tool_uses=(ToolUse(tool_use_id="tooluse_9", name="gone", arguments={}),)),
            Message(role="user", text="?"),
        )
        names = [tool["toolSpec"]["name"] for tool in wire_request(asked)["toolConfig"]["tools"]]
        assert names[-1] == "gone"


class TestScriptedModel:
    async def test_counts_a_token_for_four_characters(self) -> None:
        _, _, stopped = await reply_of(scripted(), question("Where can I park?"))
        text = "You can park free of charge behind the building, for two hours."
        assert stopped.usage == TokenUsage(input_tokens=stopped.usage.input_tokens, output_tokens=-(-len(text) // 4))
