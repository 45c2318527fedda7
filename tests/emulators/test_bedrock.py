"""The emulator of Bedrock refuses what Bedrock refuses."""

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from infra.emulators.bedrock.server import BedrockEmulator
from infra.emulators.bedrock.validation import Refused, read_request
from tests.contracts.minds import MODEL, scripted

HELLO = {"role": "user", "content": [{"text": "Hello"}]}
REPLY = {"role": "assistant", "content": [{"text": "Hi"}]}
USE = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}]}
RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"found": 1}}], "status": "success"}}]}
TOOLS = {"tools": [{"toolSpec": {"name": "look", "description": "Looks.", "inputSchema": {"json": {"type": "object"}}}}]}


def refusal(body: dict[str, Any], model: str = MODEL) -> str:
    with pytest.raises(Refused) as refused:
        read_request(model, body)
    return str(refused.value)


class TestConverse:
    def test_accepts_a_conversation_with_tools(self) -> None:
        asked = read_request(MODEL, {"messages": [HELLO, USE, RESULT], "toolConfig": TOOLS, "inferenceConfig": {"maxTokens": 10}})
        assert [message.role for message in asked.messages] == ["user", "assistant", "user"]
        assert asked.messages[1].tool_uses[0].name == "look"
        assert asked.messages[2].tool_outcomes[0].content == {"found": 1}

    @pytest.mark.parametrize(
        ("messages", "said"),
        [
            ([], "must start with a user message"),
            ([REPLY, HELLO], "must start with a user message"),
            ([HELLO, REPLY], "must end with a user message"),
            ([HELLO, HELLO], "roles must alternate"),
            ([HELLO, {"role": "assistant", "content": [{"text": " "}]}, HELLO], "messages.1.content.0 is blank"),
            ([{"role": "user", "content": []}], "is empty"),
            ([{"role": "user", "content": [{"text": "a", "toolUse": {}}]}], "Invalid content block"),
            ([HELLO, USE, HELLO], "Expected toolResult blocks at messages.2.content for the following Ids: t1"),
            ([HELLO, REPLY, RESULT], "exceeds the number of toolUse blocks"),
            ([{"role": "user", "content": USE["content"]}], "Invalid toolUse"),
            ([HELLO, USE, {"role": "user", "content": [{"text": "And?"}, *RESULT["content"]]}], "must come before text"),
        ],
    )
    def test_refuses_a_conversation_that_is_none(self, messages: list[Any], said: str) -> None:
        assert said in refusal({"messages": messages, "toolConfig": TOOLS})

    def test_refuses_tool_blocks_without_definitions(self) -> None:
        assert "toolConfig field must be defined" in refusal({"messages": [HELLO, USE, RESULT]})

    def test_refuses_a_tool_answer_that_is_no_object(self) -> None:
        listed = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": [1]}]}}]}
        assert "json object" in refusal({"messages": [HELLO, USE, listed], "toolConfig": TOOLS})

    def test_refuses_unknown_fields_models_and_tools(self) -> None:
        assert "extraneous key [temperature]" in refusal({"messages": [HELLO], "temperature": 1})
        assert "model identifier" in refusal({"messages": [HELLO]}, model="claude-3-5-sonnet-v2")
        assert "Tool names" in refusal({"messages": [HELLO], "toolConfig": {"tools": TOOLS["tools"] * 2}})
        assert "at least one" in refusal({"messages": [HELLO], "toolConfig": {"tools": []}})

    def test_refuses_sampling_where_the_model_has_none(self) -> None:
        with pytest.raises(Refused, match="deprecated"):
            read_request(MODEL, {"messages": [HELLO], "inferenceConfig": {"temperature": 0.1}}, ("claude-haiku-4-5",))


class TestTheServer:
    @pytest.mark.parametrize(
        ("headers", "body", "status", "code"),
        [
            ({}, {"messages": [HELLO]}, 403, "MissingAuthenticationTokenException"),
            ({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, {"messages": []}, 400, "ValidationException"),
            ({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, {"messages": [{}]}, 400, "SerializationException"),
        ],
    )
    async def test_answers_an_error_with_its_name(self, headers: dict[str, str], body: dict[str, Any], status: int, code: str) -> None:
        async with BedrockEmulator(scripted()).serving() as url, ClientSession() as http:
            path = f"{url}/model/{MODEL.replace(':', '%3A')}/converse-stream"
            async with http.post(path, data=json.dumps(body), headers=headers) as answer:
                assert answer.status == status
                assert answer.headers["x-amzn-ErrorType"].startswith(code)
