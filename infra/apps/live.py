"""What happens in calls, printed as it is committed: the log itself, read while it grows."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from rich.text import Text

from events import consents
from events.admission import UNCLAIMED
from events.calls.ending import CallEnded, EngineFailure, EngineSwitched
from events.calls.languages import LanguageChanged
from events.calls.recording import RecordingStarted, RecordingStopped
from events.calls.ringing import CallReceived, CallResumed
from events.calls.talking import AgentTurn, CallerTurn, DisclosureSpoken
from events.calls.thinking import ToolAnswered, ToolRequested
from events.headers import Kind
from events.recorded import Recorded
from events.records import recorded
from events.registry import Fact
from events.sealing import KeyRing
from events.streams import StreamId, topic_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.apps.alongside import alongside
from infra.apps.story import in_clear
from infra.apps.timeline import clock

_TOPICS = (topic_of("calls"), topic_of("consents"))


@asynccontextmanager
async def narrated(
    reader: KafkaLogReader, key_ring: KeyRing, tell: Callable[[Text], None], *, caller: str | None = None
) -> AsyncIterator[None]:
    """Tell every fact of calls and consents that is appended from now on; of one caller's calls, where one is named."""
    ends = await reader.end_offsets(_TOPICS)
    concerns = (lambda _found: True) if caller is None else CallsOf(caller, key_ring).concern

    async def follow() -> None:
        # The fence of an end is not known without reading up to it; what lies before is read and not told.
        async with aclosing(reader.batches(_TOPICS, dict.fromkeys(ends, (0, UNCLAIMED)))) as batches:
            async for batch in batches:
                for raw in batch.records:
                    fresh = raw.offset >= ends[raw.topic, raw.partition]
                    if fresh and raw.header is not None and raw.header.kind is Kind.EVENT:
                        found = recorded(raw, reader.codec)
                        line = sentence(found.fact, key_ring) if concerns(found) else None
                        if line is not None:
                            tell(line)

    async with alongside({"narrate the log": follow}):
        yield


class CallsOf:
    """Which facts concern the calls of one number: those of its calls, and what the caller allowed."""

    def __init__(self, caller: str, key_ring: KeyRing) -> None:
        self._caller = caller
        self._key_ring = key_ring
        self._streams: set[StreamId] = set()

    def concern(self, found: Recorded[Fact]) -> bool:
        """Facts are shown in the order of each stream; a call begins by its ring."""
        fact = found.fact
        if isinstance(fact, CallReceived) and in_clear(self._key_ring, fact.caller) == self._caller:
            self._streams |= {found.stream, StreamId(found.stream.tenant, "consents", fact.caller_ref)}
        return found.stream in self._streams


def sentence(fact: Fact, key_ring: KeyRing) -> Text | None:
    """One fact for people; None for those that only machines want to see live."""
    match fact:
        case CallReceived():
            return _line(None, "line", f"{in_clear(key_ring, fact.caller)} rings {in_clear(key_ring, fact.number)}")
        case CallResumed():
            return _line(fact.at_ms, "fault", f"{fact.cause}: another worker goes on with the call")
        case DisclosureSpoken():
            return _line(fact.heard_ms, "line", "the caller has heard that an AI speaks")
        case CallerTurn():
            return _line(fact.started_ms, "caller", in_clear(key_ring, fact.words) or "(nothing understood)")
        case AgentTurn():
            return _line(fact.started_ms, "agent", in_clear(key_ring, fact.heard) + (" — interrupted" if fact.interrupted else ""))
        case ToolRequested():
            return _line(fact.at_ms, "tool", f"{fact.tool} is asked")
        case ToolAnswered():
            return _line(fact.at_ms, "tool", f"{fact.tool} {'failed' if fact.failed else 'answered'}")
        case RecordingStarted():
            return _line(fact.at_ms, "record", "recording starts")
        case RecordingStopped():
            return _line(fact.at_ms, "record", f"recording stops ({fact.reason})")
        case EngineFailure():
            return _line(fact.at_ms, "fault", f"{fact.engine}: {fact.reason}")
        case EngineSwitched():
            return _line(fact.at_ms, "fault", f"{fact.engine} takes over as {fact.kind}: {fact.reason}")
        case LanguageChanged():
            return _line(fact.at_ms, "line", f"the agent goes on in {fact.language}, chosen by the {fact.by.value}")
        case CallEnded():
            return _line(fact.duration_ms, "line", f"the call ends: {fact.reason}, by the {fact.ended_by.value}")
        case consents.ConsentGranted():
            return _line(None, "record", f"consent granted: {fact.purpose.value}")
        case consents.ConsentRevoked():
            return _line(None, "record", f"consent withdrawn: {fact.purpose.value}")
        case _:
            return None


def _line(at_ms: int | None, who: str, words: str) -> Text:
    colour = {"caller": "bold cyan", "agent": "bold green", "tool": "magenta", "record": "yellow", "fault": "bold red"}.get(who, "dim")
    line = Text(f"  {clock(at_ms):>7}  ")
    line.append(f"{who:<7}", style=colour)
    line.append(f" {words}")
    return line
