"""Loopback ports that nobody holds, and that no outgoing connection will take by chance."""

import random
import socket
from collections.abc import Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 15_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 1_000


class NoFreePort(Exception):
    """Every port that was tried is taken."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, rather: Sequence[int] = ()) -> tuple[int, ...]:
    """Choose ports; those of `rather` come first while they are free. Raises NoFreePort."""
    chosen = [port for port in rather[:count] if is_free(port)]
    draw = random.SystemRandom()
    for _ in range(_TRIES):
        if len(chosen) == count:
            return tuple(chosen)
        port = draw.randrange(_LOWEST, _first_ephemeral())
        if port not in chosen and is_free(port):
            chosen.append(port)
    raise NoFreePort(f"no free port was found on {LOOPBACK} between {_LOWEST} and {_first_ephemeral()}")


def _first_ephemeral() -> int:
    # A client that keeps dialling a dead server in the ephemeral range can, by simultaneous open, connect to itself and so
    # hold the very port the server wants back. Below the range that cannot happen.
    try:
        first = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:
        first = 32_768
    return max(first, _LOWEST + 5_000)
