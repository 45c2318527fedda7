"""How a process that holds calls asks for memory: what a call leaves free goes back, and is not what the next one finds no room in."""

import ctypes
from contextlib import suppress
from typing import Final

# malloc.h of the GNU C library.
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8


def allocate_for_calls() -> None:
    """Before threads and sockets. Elsewhere than on the GNU C library all stays as it is there."""
    settings = {
        # Left alone the threshold grows with the first TLS buffer that is freed, and all later ones lie among what is small and stays:
        # each hole that they leave is filled with something that outlives them.
        _MMAP_THRESHOLD: 128 << 10,
        # Threads of adapters run one at a time, as Python does: none needs a heap of its own.
        _ARENA_MAX: 2,
        _TRIM_THRESHOLD: 1 << 20,
        _TOP_PAD: 256 << 10,
    }
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in settings.items():
            mallopt(parameter, value)
