"""What goes wrong with an emulated Deepgram's sockets, by plan."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """A status instead of a handshake; a socket that breaks, or goes dumb, after so much audio or sound; fewer flushes than others have.

    `only_first`: how many sockets of each kind it befalls, and `afterwards` what befalls the others; None: all, and nothing. What breaks in
    the middle closes with `close_code` and its reason.
    """

    refuse_listen_status: int | None = None
    refuse_speak_status: int | None = None
    close_listen_after_ms: int | None = None
    close_speak_after_bytes: int | None = None
    dumb_listen_after_ms: int | None = None
    dumb_speak_after_bytes: int | None = None
    most_flushes: int = 20
    close_code: int = 1011
    close_reason: str = "NET-0000: Deepgram has not transmitted a text frame to the client within the timeout window."
    only_first: int | None = None
    afterwards: "Faults | None" = None


NO_FAULTS: Final = Faults()
