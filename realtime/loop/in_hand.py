"""One call as a worker holds it: whose it is, over which stream, with which tools."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from events.streams import StreamId
from realtime.hearing import vad
from realtime.machine.briefing import Briefing
from realtime.machine.resuming import Past
from realtime.ports import Tools
from realtime.recording.shelving import Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInHand:
    """What this call has of its own. `voice` is the provider's name of it, `seal_piece` makes an object of a piece of the recording.

    `began_ms`: how old the call was when this stream began. `told_at` is the address at which the carrier tells of the leg to whom the
    caller is put through.
    """

    briefing: Briefing
    stream: StreamId
    call_sid: str
    stream_sid: str
    language: str
    voice: str
    vocabulary: tuple[str, ...]
    tools: Tools
    hearing: vad.Thresholds
    seal_piece: Seal
    told_at: str = ""
    began_ms: int = 0
    agent_version_hash: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    rang_at: datetime | None = None


TakesOver: TypeAlias = Callable[[], Awaitable[Past | None]]
"""Put it on the log that this stream has the call; returns what the call was up to there, None where it is another's, or over."""
