"""The rival under test: pipecat with its own services for Twilio, Deepgram and Bedrock, as its documentation puts them together.

Run by the Python of the rival's own environment (`make rival`); it imports nothing of ours. Says where it listens as a line of JSON.

    .cache/pipecat/bin/python tests/benchmarks/voice/rival.py DEEPGRAM KEY BEDROCK
"""

import json
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.aws.llm import AWSBedrockLLMService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

DEEPGRAM, KEY, BEDROCK = sys.argv[1:4]
SOCKETS = DEEPGRAM.replace("https://", "wss://")
os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = BEDROCK
app = FastAPI()


@app.websocket("/ws")
async def call(websocket: WebSocket) -> None:
    """One call, from its start to its end."""
    await websocket.accept()
    messages = websocket.iter_text()
    await anext(messages)
    start = json.loads(await anext(messages))["start"]
    serializer = TwilioFrameSerializer(start["streamSid"], start["callSid"], params=TwilioFrameSerializer.InputParams(auto_hang_up=False))
    parameters = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket, parameters)
    hearing = DeepgramSTTService(api_key=KEY, base_url=SOCKETS)
    speaking = DeepgramTTSService(api_key=KEY, base_url=SOCKETS, settings=DeepgramTTSService.Settings(voice="aura-2-thalia-en"))
    settings = AWSBedrockLLMService.Settings(model="us.anthropic.claude-sonnet-4-6", system_instruction="You are a phone agent.")
    thinking = AWSBedrockLLMService(settings=settings)
    user, assistant = LLMContextAggregatorPair(LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer()))
    worker = PipelineWorker(
        Pipeline([transport.input(), hearing, user, thinking, speaking, transport.output(), assistant]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000, enable_metrics=True, enable_usage_metrics=True),
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def _gone(_transport: object, _client: object) -> None:
        await runner.cancel()

    await runner.run()


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(json.dumps({"socket": f"ws://127.0.0.1:{listening.getsockname()[1]}/ws"}) + "\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="uvloop", ws="websockets"))
    server.run(sockets=[listening])
