"""All that a call has of its own, put together from the agent's version before its first word."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from events.sealing import KeyRing
from events.streams import StreamId
from realtime.carrier.reception import Ringing
from realtime.control import capping
from realtime.hearing import vad
from realtime.loop.conductor import Engines
from realtime.loop.in_hand import CallInHand
from realtime.machine import briefing as briefings
from realtime.machine.briefing import Briefing
from realtime.ports import SEVERAL, Tools
from realtime.recording import pieces
from realtime.recording.shelving import Seal
from realtime.speaking import tongues
from realtime.thinking.guardrails import guardrails
from realtime.thinking.models import rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """`worker` stands in each call's record. `resumable`: another worker can take a call up that this one loses."""

    engines: Engines
    keyring: KeyRing
    tools: Callable[[str, Mapping[str, Any]], Tools]
    models: Callable[[Mapping[str, Any]], Mapping[str, str]]
    leg_url: Callable[[StreamId], str]
    worker: str
    resumable: bool

    def in_hand(self, ringing: Ringing, stream_sid: str, *, began_ms: int = 0) -> CallInHand:
        """The call over this media stream. `began_ms`: how old it is."""
        configuration = ringing.route.configuration
        tools = self.tools(ringing.stream.tenant, configuration)
        briefing = self._briefing(ringing, tools)
        vocabulary = configuration.get("vocabulary")
        return CallInHand(
            briefing=briefing, stream=ringing.stream, call_sid=ringing.call_sid, stream_sid=stream_sid,
            language=tongues.heard_language(configuration, briefing.tongues), voice=briefings.voice(configuration), tools=tools,
            vocabulary=tuple(map(str, vocabulary)) if isinstance(vocabulary, list) else (), hearing=_hearing(configuration),
            seal_piece=self._sealing(ringing.subject), began_ms=began_ms, told_at=self.leg_url(ringing.stream),
            agent_version_hash=ringing.route.version_hash, flags=ringing.route.flags, rang_at=ringing.rang_at,
        )  # fmt: skip

    def _sealing(self, subject: str) -> Seal:
        return lambda name, piece: pieces.sealed(piece, name, subject, self.keyring)

    def _briefing(self, ringing: Ringing, tools: Tools) -> Briefing:
        route, engines, keyring = ringing.route, self.engines, self.keyring
        configuration = route.configuration
        models = self.models(configuration)
        automation, recording = briefings.section(configuration, "automation"), briefings.section(configuration, "recording")
        subject, keypad = ringing.subject, briefings.section(configuration, "keypad")
        wording = briefings.wording(configuration, route.organisation_name, route.flags)
        pronunciation = briefings.pronunciation(configuration)
        spoken = tongues.tongues(configuration, wording, pronunciation)
        several = SEVERAL in tongues.heard_language(configuration, spoken)
        # A model that tells languages apart has a price of its own.
        recogniser = engines.recogniser.name + ("-multilingual" if several and not engines.recogniser.embedded else "")
        return Briefing(
            call_id=ringing.stream.id, caller_ref=ringing.caller_ref, caller=keyring.seal(subject, ringing.caller),
            worker=self.worker, recogniser=recogniser, model_provider=engines.model.name, voice=engines.voice.name,
            embedded=engines.recogniser.embedded or engines.model.embedded or engines.voice.embedded,
            system_prompt=briefings.system_prompt(configuration), thresholds=briefings.thresholds(configuration),
            wording=wording, models=models,
            seal=lambda text: keyring.seal(subject, text), tools=tuple(tools.offered()) if automation.get("tools_enabled", True) else (),
            digits_as_words=bool(keypad.get("words", False)),
            captures_digits=bool(keypad.get("capture", False)) and engines.digits is not None,
            destinations=briefings.destinations(configuration), prices=self._prices(models, recogniser),
            rules=rules(configuration), guardrails=guardrails(configuration), resumable=self.resumable,
            pronunciation=pronunciation, language=next(iter(spoken)), tongues=spoken, voices=briefings.voices(configuration),
            hears_all=several,
            ask_to_record=bool(recording.get("ask", True)),
            code_execution=bool(automation.get("code_execution", False)),
        )  # fmt: skip

    def _prices(self, models: Mapping[str, str], recogniser: str) -> Mapping[str, int]:
        table, mind, voice = self.engines.prices, self.engines.model, self.engines.voice
        return capping.prices(table, recogniser=recogniser, provider=mind.name, voice=voice.name, models=models.values())


def _hearing(configuration: Mapping[str, Any]) -> vad.Thresholds:
    given = briefings.thresholds(configuration)
    return vad.Thresholds(
        start_probability=given.interruption_threshold, start_ms=given.speech_start_ms, stop_ms=given.speech_stop_ms + vad.ALONE_MS,
        quiet_ms=given.speech_stop_ms,
    )  # fmt: skip
