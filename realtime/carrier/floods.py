"""How much a peer may send: as fast as it likes for a while, and no faster than a carrier in the long run."""

from dataclasses import dataclass

# A carrier sends 50 messages and 20 kB a second; after a hole in the network it hands over at once what has gathered meanwhile.
_MESSAGES_PER_SECOND = 200.0
_BYTES_PER_SECOND = 160_000.0
_AT_ONCE_SECONDS = 15.0


@dataclass(slots=True)
class Allowance:
    """What is left of what a socket may bring, in messages and bytes; it grows with time up to what may come at once."""

    at: float
    messages: float = _MESSAGES_PER_SECOND * _AT_ONCE_SECONDS
    bytes: float = _BYTES_PER_SECOND * _AT_ONCE_SECONDS

    def takes(self, size: int, at: float) -> bool:
        """Whether a message of so many bytes at this time (seconds) is still within it."""
        if at > self.at:
            passed, self.at = at - self.at, at
            self.messages = min(self.messages + passed * _MESSAGES_PER_SECOND, _MESSAGES_PER_SECOND * _AT_ONCE_SECONDS)
            self.bytes = min(self.bytes + passed * _BYTES_PER_SECOND, _BYTES_PER_SECOND * _AT_ONCE_SECONDS)
        self.messages -= 1
        self.bytes -= size
        return self.messages >= 0 and self.bytes >= 0
