"""The providers of the bench as a process of its own, over TLS: says where it listens, and what it noted when standard input ends.

python -m tests.benchmarks.voice.providers FOLDER
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import uvloop
from picows import WSListener, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

from infra.emulators.bedrock.server import BedrockEmulator
from realtime.machine.briefing import Wording
from tests.benchmarks.voice.authority import serving_context
from tests.benchmarks.voice.listening import Listening
from tests.benchmarks.voice.processes import first_in_line
from tests.benchmarks.voice.providing import Provided
from tests.benchmarks.voice.speaking import Speaking
from tests.benchmarks.voice.thinking import DIGITS, REPLY, Mind
from tests.benchmarks.voice.words import Dictionary

KEY = "a key of the bench's"
CALLERS_VOICE, AGENTS_VOICE = "rms", "slt"
QUESTION = "Caller {0}, when are you open?"
OVER = "And on Sundays please?"
YES = "Yes please."
PAUSED = (
    ("Caller {0}, I would like to know when you are open.", 7),
    ("Caller {0}, can you tell me when you are open?", 7),
    ("My number is {0}, when are you open?", 2),
)
"""Questions in which the caller stops to think after the word of that number."""


def dictionaries() -> tuple[Dictionary, Dictionary]:
    """All that the callers say, and all that the agent says unless somebody changes its words."""
    callers, agent = Dictionary(CALLERS_VOICE), Dictionary(AGENTS_VOICE)
    callers.learn([QUESTION, OVER, YES, *(text for text, _ in PAUSED), " ".join(DIGITS)])
    own = [each.default for each in fields(Wording) if isinstance(each.default, str)]
    agent.learn([REPLY, " ".join(DIGITS), *own, "Hello, you have reached Harbour Dental. You are speaking with an AI assistant."])
    agent.learn(["Welcome. Thank you for calling Harbour Dental. One moment, please."])
    return callers, agent


async def serve(folder: Path) -> None:
    """Until standard input ends."""
    callers, agent = dictionaries()
    house, tls = Provided(asyncio.get_running_loop()), serving_context(folder)
    bedrock = BedrockEmulator(Mind(house))

    def open_socket(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        address = urlsplit(request.path.decode())
        if KEY not in request.headers.get("authorization", ""):
            return _refused(HTTPStatus.UNAUTHORIZED)
        match address.path:
            case "/v1/listen":
                return Listening(house, parse_qsl(address.query), callers)
            case "/v1/speak":
                return Speaking(house, parse_qsl(address.query), agent)
            case _:
                return _refused(HTTPStatus.NOT_FOUND)

    async with AsyncExitStack() as stack:
        server = await ws_create_server(open_socket, "127.0.0.1", 0, ssl=tls, enable_auto_ping=False)
        stack.callback(server.close)
        endpoint = await stack.enter_async_context(bedrock.serving(tls=tls))
        _say({"deepgram": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "bedrock": endpoint})
        await asyncio.to_thread(sys.stdin.read)
        _say(
            {
                "notes": house.notes, "counters": house.counters, "open": house.open_sockets,
                "received_bytes": sum(each.received_bytes for each in house.listening),
                "lost_bytes": sum(each.lost_bytes for each in house.listening),
            }
        )  # fmt: skip


def _refused(status: HTTPStatus) -> WSUpgradeResponseWithListener:
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, status.phrase.encode()), None)


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    first_in_line()
    uvloop.run(serve(Path(sys.argv[1])))
