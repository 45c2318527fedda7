"""What is sent to Converse is accepted, whatever the talk did; cached where it pays; and thoughts go back as they came."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.adapters.bedrock.traits import Traits, known, traits_of
from infra.adapters.bedrock.wire import wire_request
from infra.adapters.model_catalogues import read_model_catalogues
from infra.emulators.bedrock.reasoning import signature_of
from infra.emulators.bedrock.server import Breaks, Garbles, Rejected
from infra.emulators.bedrock.validation import Refused, read_request
from realtime.ports import EngineUnavailable, LanguageModel, Message, ModelRequest, ModelStopped, Reasoning, ToolOutcome, ToolSpec, ToolUse
from realtime.thinking import conversation
from realtime.thinking.conversation import Exchange, Talk
from tests.contracts.minds import MODEL, aws, bedrock, question, reply_of

__all__ = ["aws"]
SONNET = "global.anthropic.claude-sonnet-4-6"
TEXTS = st.sampled_from(["", " ", "\n", "Hello", "When are you open?", "…", "mm-hm"])
IDS = st.sampled_from(["t1", "t2", "t3", "tooluse_4", "odd id!", "é" * 70])
NAMES = st.sampled_from(["find_slot", "book_slot", "gone", "not a name", "x" * 90])
CONTENTS = st.sampled_from(["", "  ", "free", {"free": "9"}, {}, [1, 2], None, 4])
USES = st.lists(st.builds(ToolUse, tool_use_id=IDS, name=NAMES, arguments=st.just({"n": 1})), max_size=3).map(tuple)
OUTCOMES = st.lists(st.builds(ToolOutcome, tool_use_id=IDS, content=CONTENTS, failed=st.booleans()), max_size=3).map(tuple)
THOUGHTS = st.lists(
    st.sampled_from([
        Reasoning(model=SONNET, text="Well.", signature=signature_of("Well.")),
        Reasoning(model=MODEL, text="Another's.", signature=signature_of("Another's.")),
        Reasoning(model=SONNET),
    ]),
    max_size=2,
).map(tuple)  # fmt: skip
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["user", "assistant"]), text=TEXTS, reasoning=THOUGHTS, tool_uses=USES, tool_outcomes=OUTCOMES),
    max_size=8,
).map(tuple)  # fmt: skip


Happening: TypeAlias = tuple[int, str, tuple[ToolUse, ...], tuple[ToolOutcome, ...], tuple[Reasoning, ...]]
HAPPENINGS = st.tuples(st.integers(0, 4), TEXTS, USES, OUTCOMES, THOUGHTS)


def request(messages: Sequence[Message], **changes: object) -> ModelRequest:
    spec = ToolSpec(name="find_slot", description="", input_schema={"type": "object"})
    asked = ModelRequest(model=SONNET, system="Be kind.", messages=tuple(messages), tools=(spec,), max_tokens=400, temperature=0.3)
    return replace(asked, **changes)  # type: ignore[arg-type]


def taken(asked: ModelRequest, traits: Traits) -> ModelRequest:
    """The request as the service reads it. Raises Refused."""
    wire = wire_request(asked, traits=traits)
    return read_request(wire.pop("modelId"), wire)


class TestContext:
    @given(MESSAGES, st.integers(0, 9), st.sampled_from([0, 4096]), st.sampled_from([None, 1]))
    def test_is_accepted_whatever_it_holds(self, messages: tuple[Message, ...], settled: int, thinking: int, minimum: int | None) -> None:
        asked = request(messages, settled=settled, thinking_tokens=thinking)
        taken(asked, Traits(cache_minimum_tokens=minimum, thinks=True))

    @given(st.lists(HAPPENINGS, max_size=10))
    def test_is_accepted_whatever_the_talk_did(self, happenings: list[Happening]) -> None:
        talk = Talk()
        for kind, text, uses, outcomes, thoughts in happenings:
            match kind:
                case 0 | 1:
                    talk = conversation.caller_said(talk, text)
                case 2:
                    talk = conversation.came_late(talk, text)
                case _:
                    exchanges = [Exchange(text=text, uses=uses, outcomes=outcomes, reasoning=thoughts)] if uses else []
                    talk = conversation.agent_said(talk, exchanges, text if kind == 3 else "")
            messages = conversation.context(talk, (), 32_000)
            asked = request(messages, settled=conversation.settled(talk, messages), thinking_tokens=2048)
            taken(asked, Traits(cache_minimum_tokens=1, thinks=True))

    @pytest.mark.parametrize(
        "broken",
        [
            lambda wire: wire["messages"].insert(0, {"role": "assistant", "content": [{"text": "Hello"}]}),
            lambda wire: wire["messages"].append({"role": "assistant", "content": [{"text": "Hello"}]}),
            lambda wire: wire["messages"].append({"role": "user", "content": [{"text": "Hello"}]}),
            lambda wire: wire["messages"][0]["content"].append({"text": " "}),
            lambda wire: wire["messages"][2]["content"].pop(0),
            lambda wire: wire.pop("toolConfig"),
            lambda wire: wire["messages"][1]["content"][0]["reasoningContent"]["reasoningText"].update(text="Altered."),
            lambda wire: wire["messages"][1]["content"].pop(0),
            lambda wire: wire["inferenceConfig"].update(maxTokens=4096),
            lambda wire: wire["inferenceConfig"].update(temperature=0.3),
            lambda wire: wire["system"].insert(0, {"cachePoint": {"type": "default"}}),
            lambda wire: wire["system"].extend([{"cachePoint": {"type": "default"}}] * 5),
        ],
    )  # fmt: skip
    def test_is_refused_where_the_service_refuses_it(self, broken: object) -> None:
        use = ToolUse(tool_use_id="t1", name="find_slot", arguments={})
        thought = Reasoning(model=SONNET, text="Well.", signature=signature_of("Well."))
        messages = (
            Message(role="user", text="Hi"),
            Message(role="assistant", reasoning=(thought,), tool_uses=(use,)),
            Message(role="user", tool_outcomes=(ToolOutcome(tool_use_id="t1", content="free"),)),
        )
        wire = wire_request(request(messages, thinking_tokens=4096), traits=Traits(thinks=True))
        model = wire.pop("modelId")
        assert read_request(model, wire).messages == messages
        broken(wire)  # type: ignore[operator]
        with pytest.raises(Refused):
            read_request(model, wire)


@pytest.mark.usefixtures("aws")
class TestPromptCache:
    async def ask(self, model: LanguageModel, *texts: str, settled: int) -> ModelStopped:
        asked = replace(question(*texts, model=SONNET), system="Be kind. " * 1200, settled=settled)
        return (await reply_of(model, asked))[2]

    async def test_is_written_by_one_question_and_read_by_the_next(self) -> None:
        async with bedrock() as (model, _):
            first = (await self.ask(model, "Hello", settled=0)).usage
            second = (await self.ask(model, "Hello", "Hello. How can I help you?", "When are you open?", settled=2)).usage
            third = (
                await self.ask(model, "Hello", "Hello. How can I help you?", "When are you open?", "At nine.", "And?", settled=4)
            ).usage
        assert (first.cache_read_tokens, first.cache_write_tokens > 2500) == (0, True)
        assert second.cache_read_tokens == first.cache_write_tokens
        assert third.cache_read_tokens == second.cache_read_tokens + second.cache_write_tokens
        assert third.input_tokens < 200

    async def test_is_worthless_once_the_beginning_has_changed(self) -> None:
        async with bedrock() as (model, _):
            await self.ask(model, "Hello", "Hello. How can I help you?", "When are you open?", settled=2)
            folded = (await self.ask(model, "(Earlier) Hello", "Hello. How can I help you?", "When are you open?", settled=2)).usage
        assert folded.cache_write_tokens > 0

    async def test_has_no_point_where_the_beginning_is_too_short_for_the_model(self) -> None:
        asked = question("Hello", "Hello. How can I help you?", "When are you open?")
        async with bedrock() as (model, emulator):
            usage = (await reply_of(model, replace(asked, settled=2)))[2].usage
        assert (usage.cache_read_tokens, usage.cache_write_tokens) == (0, 0)
        assert emulator.requests[0].settled == 0

    def test_knows_the_models_by_their_inference_profiles(self) -> None:
        models = known(read_model_catalogues())
        assert traits_of(MODEL, models) == Traits(cache_minimum_tokens=4096, thinks=True)
        assert traits_of("anthropic.claude-sonnet-4-6", models).cache_minimum_tokens == 2048
        assert traits_of("arn:aws:bedrock:eu-west-1:1:inference-profile/mine", models) == Traits()


@pytest.mark.usefixtures("aws")
class TestThinking:
    @pytest.mark.parametrize("redacts", [False, True])
    async def test_comes_first_and_goes_back_as_it_came(self, redacts: bool) -> None:
        asked = replace(question("I would like to book a cleaning on Tuesday morning", model=SONNET), thinking_tokens=2048)
        async with bedrock(redacts=redacts) as (model, emulator):
            thought, use, _ = [event async for event in model.converse(asked)]
            assert isinstance(thought, Reasoning)
            assert isinstance(use, ToolUse)
            assert bool(thought.redacted) == redacts
            told = Message(
                role="user", tool_outcomes=(ToolOutcome(tool_use_id=use.tool_use_id, content={"times": ["09:15"], "open": True}),)
            )
            again = replace(asked, messages=(*asked.messages, Message(role="assistant", reasoning=(thought,), tool_uses=(use,)), told))
            await reply_of(model, again)
            altered = replace(thought, text="Not what I thought.", redacted="")
            forged = replace(again, messages=(*again.messages[:1], replace(again.messages[1], reasoning=(altered,)), told))
            if not redacts:
                with pytest.raises(EngineUnavailable):
                    await reply_of(model, forged)
        assert emulator.requests[1] == replace(again, temperature=None)


@pytest.mark.usefixtures("aws")
class TestFailures:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Rejected(status=503, code="ServiceUnavailableException"), "ServiceUnavailableException"),
            (Rejected(status=408, code="ModelTimeoutException"), "ModelTimeoutException"),
            (Breaks(after=2, kind="internalServerException"), "internalServerException"),
            (Breaks(after=2, kind="serviceUnavailableException"), "serviceUnavailableException"),
            (Garbles(after=2), "ChecksumMismatch"),
        ],
    )
    async def test_have_the_services_names(self, fault: Rejected | Breaks | Garbles, reason: str) -> None:
        async with bedrock(faults=[fault] * 2) as (model, _):
            with pytest.raises(EngineUnavailable) as broke:
                await reply_of(model, question("When are you open?"))
        assert broke.value.reason == reason

    def test_that_the_service_does_not_have_cannot_be_emulated(self) -> None:
        with pytest.raises(ValueError, match="the service"):
            Rejected(status=418, code="TeapotException")
        with pytest.raises(ValueError, match="the service"):
            Breaks(kind="ThrottlingException")
