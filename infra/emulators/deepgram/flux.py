"""One emulated `/v2/listen` socket: Flux's turns by the audio that it receives, in the order that its state machine allows."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from infra.adapters.pocketsphinx.hearing import ENDED_BY_REQUEST, Heard, Word
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.listening import Listening
from infra.emulators.deepgram.parameters import BadRequest, FluxParameters, ListenParameters
from realtime.audio import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, level_dbfs
from realtime.ports import EngineFailed
from realtime.turns.phrases import trails_off

_UPDATE_EVERY_MS: Final = 250
_PAUSE_MS: Final = 160
_LOUD_DBFS: Final = -48.0
_SHUT: Final = "UNPARSABLE_CLIENT_MESSAGE"
# How sure it is that nothing more comes: with the silence, and less after words that do not end a sentence.
_SURE_AT_ONCE: Final = 0.4
_SURE_LATER: Final = 0.5
_SURE_AFTER_MS: Final = 800
_UNSURE_FACTOR: Final = 0.5


class Flux(Listening):
    """A connection from its handshake to its end. Initial, a turn going on, or its end awaited; nothing is told out of that order."""

    def __init__(
        self, socket: web.WebSocketResponse, parameters: FluxParameters, *, seed: int, patience_seconds: float, faults: Faults
    ) -> None:
        ears = ListenParameters(
            interim_results=True, punctuate=False, vad_events=False, endpointing_ms=_PAUSE_MS, utterance_end_ms=None,
            key_terms=parameters.key_terms,
        )  # fmt: skip
        super().__init__(socket, ears, seed=seed, patience_seconds=patience_seconds, faults=faults)
        self._flux = parameters
        self._sequence = 0
        self._turn_index = 0
        self._settled: tuple[Word, ...] = ()
        self._going: tuple[Word, ...] = ()
        self._settled_ms = 0
        self._began_ms = 0
        self._turning = False
        self._eager: str | None = None
        self._told_ms = 0
        self._sound = b""
        self._loud: list[bool] = []
        self._say("Connected")

    async def _obey(self, text: str) -> bool:
        try:
            order = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            order = {}
        match order:
            case {"type": "ForceEndTurn"}:
                self._received.put_nowait(None)
            case {"type": "Configure"}:
                self._configure(order)
            case {"type": "CloseStream"}:
                await self._out.join()
                await self._socket.close(code=WSCloseCode.OK)
                return False
            case _:
                # There is neither Finalize nor KeepAlive here.
                self._say("Error", code=_SHUT, description="The client's message is none of this protocol's.")
                await self._out.join()
                await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=_SHUT.encode())
                return False
        return True

    def _configure(self, order: Mapping[str, Any]) -> None:
        try:
            self._flux = self._flux.changed(order.get("thresholds") or {})
        except (BadRequest, TypeError, ValueError) as error:
            self._say("ConfigureFailure", code="CONFIGURE_INVALID_THRESHOLD", description=str(error))
        else:
            self._say("ConfigureSuccess", thresholds=order.get("thresholds") or {}, keyterms=list(self._flux.key_terms))

    async def _receive(self) -> None:
        async for message in self._socket:
            self._sign.set()
            if message.type is WSMsgType.BINARY:
                self._received.put_nowait(message.data)
                self._sound += message.data
                whole = len(self._sound) - len(self._sound) % FRAME_BYTES
                self._loud += [level_dbfs(self._sound[at : at + FRAME_BYTES]) > _LOUD_DBFS for at in range(0, whole, FRAME_BYTES)]
                self._sound = self._sound[whole:]
                self._received_ms += len(message.data) // BYTES_PER_MS
                self._judge()
                close_after_ms = self._faults.close_listen_after_ms
                if close_after_ms is not None and self._received_ms >= close_after_ms:
                    await self._socket.close(code=self._faults.close_code, message=self._faults.close_reason.encode())
            elif message.type is WSMsgType.TEXT and not await self._obey(message.data):
                return

    def _heard(self, heard: Heard | EngineFailed) -> None:
        if isinstance(heard, EngineFailed):
            self._say("Error", code="INTERNAL_SERVER_ERROR", description=heard.reason)
            return
        self._going = heard.words
        if heard.is_final:
            self._settled, self._going = (*self._settled, *heard.words), ()
            self._settled_ms = heard.end_ms
        if heard.words:
            self._words_came()
        if self._turning and heard.ended == ENDED_BY_REQUEST:
            self._end("manual")
        self._judge()

    def _words_came(self) -> None:
        if not self._turning:
            self._turning = True
            self._turn("StartOfTurn")
        elif self._eager is not None and self._text != self._eager:
            self._eager = None
            self._turn("TurnResumed")

    def _judge(self) -> None:
        """How sure it is by the silence behind the last words that were heard: no more of it than until the next sound."""
        if self._turning and self._settled and not self._going:
            sure, quiet_ms = self._sure, self._quiet_ms
            eager = self._flux.eager_eot_threshold
            if self._eager is None and eager is not None and sure >= eager:
                self._eager = self._text
                self._turn("EagerEndOfTurn")
            if sure >= self._flux.eot_threshold:
                self._end("model")
            elif quiet_ms >= self._flux.eot_timeout_ms:
                self._end("timeout")
        if self._received_ms - self._told_ms >= _UPDATE_EVERY_MS:
            self._turn("Update")

    def _end(self, trigger: str) -> None:
        self._turn("EndOfTurn", trigger=trigger)
        self._turn_index += 1
        self._turning, self._eager = False, None
        self._settled = self._going = ()
        self._began_ms = self._settled_ms

    @property
    def _text(self) -> str:
        return " ".join(word.text for word in (*self._settled, *self._going))

    @property
    def _quiet_ms(self) -> int:
        """From the last sound of what was heard to the next, or as far as there is audio."""
        heard = min(self._settled_ms // FRAME_MS, len(self._loud))
        last = next((at for at in range(heard - 1, -1, -1) if self._loud[at]), 0)
        following = next((at for at in range(heard, len(self._loud)) if self._loud[at]), len(self._loud))
        return (following - last - 1) * FRAME_MS

    @property
    def _sure(self) -> float:
        sure = _SURE_AT_ONCE + _SURE_LATER * min(1.0, self._quiet_ms / _SURE_AFTER_MS)
        return sure * _UNSURE_FACTOR if trails_off(self._text) else sure

    def _turn(self, event: str, **more: Any) -> None:
        self._told_ms = self._received_ms
        words = (*self._settled, *self._going)
        self._say(
            "TurnInfo",
            event=event,
            turn_index=self._turn_index,
            audio_window_start=self._began_ms / 1000,
            audio_window_end=max(self._received_ms if not self._going else words[-1].end_ms, self._began_ms) / 1000,
            transcript=self._text,
            words=[
                {"word": word.text, "confidence": word.confidence or 0.5, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
                for word in words
            ],
            end_of_turn_confidence=round(self._sure, 3) if self._turning and self._settled and not self._going else 0.0,
            **more,
        )

    def _say(self, kind: str, **fields: Any) -> None:
        """Messages are counted, whatever they are."""
        self._tell({"type": kind, "request_id": self._request_id, "sequence_id": self._sequence, **fields})
        self._sequence += 1
