"""Language models under their contract: the embedded one, and Bedrock's through its own SDK from the emulator of its wire."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from infra.adapters.bedrock.converse import BedrockConverse, open_bedrock
from infra.adapters.scripted_model.model import ScriptedModel
from infra.apps.demo_business.opening import configuration
from infra.apps.demo_business.script import demo_script
from infra.apps.demo_business.tools import OFFERED
from infra.emulators.bedrock.server import BedrockEmulator, Fault
from realtime.machine import briefing
from realtime.ports import LanguageModel, Message, ModelRequest, ModelStopped, TextDelta, ToolUse
from realtime.thinking.tooling import END_CALL, WITHDRAW

MODEL = "global.anthropic.claude-haiku-4-5-20251001-v1:0"


def scripted(*, first_word_ms: int = 0, word_ms: int = 0) -> ScriptedModel:
    return ScriptedModel([demo_script()], first_word_ms=first_word_ms, word_ms=word_ms)


def question(*messages: Message | str, model: str = MODEL, temperature: float | None = 0.3, max_tokens: int = 400) -> ModelRequest:
    """Texts are the user's and the assistant's in turn."""
    told = tuple(
        message if isinstance(message, Message) else Message(role="assistant" if at % 2 else "user", text=message)
        for at, message in enumerate(messages)
    )
    tools = (WITHDRAW, END_CALL, *(tool.spec for tool in OFFERED.values()))
    system = briefing.system_prompt(configuration())
    return ModelRequest(model=model, system=system, messages=told, tools=tools, max_tokens=max_tokens, temperature=temperature)


async def reply_of(model: LanguageModel, request: ModelRequest) -> tuple[str, list[ToolUse], ModelStopped]:
    """The whole reply: its text, its tool uses, and its end."""
    text, uses, stopped = "", list[ToolUse](), list[ModelStopped]()
    async for event in model.converse(request):
        assert not stopped, "nothing follows the end"
        match event:
            case TextDelta(text=piece):
                text += piece
            case ToolUse():
                uses.append(event)
            case ModelStopped():
                stopped.append(event)
    assert stopped
    return text, uses, stopped[0]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are made up, and none of whoever runs the tests."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@asynccontextmanager
async def bedrock(
    mind: LanguageModel | None = None, *, faults: Iterable[Fault] = (), without_sampling: Sequence[str] = (), redacts: bool = False
) -> AsyncIterator[tuple[BedrockConverse, BedrockEmulator]]:
    emulator = BedrockEmulator(mind or scripted(), faults=faults, without_sampling=without_sampling, redacts=redacts)
    async with emulator.serving() as url, open_bedrock(region="us-east-1", endpoint_url=url) as model:
        yield model, emulator
