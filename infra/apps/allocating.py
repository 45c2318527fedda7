"""How a process asks for memory, and how often it looks for rings in it: by what it holds, calls or groups of facts on their way."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

# malloc.h of the GNU C library.
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
# So many objects more than at the last look are looked through for rings: one or two milliseconds. An SDK leaves twenty objects a call in
# rings, so that thousands of calls would wait for a collector that comes as seldom as it does to who reads the log.
_YOUNG: Final = (10_000, 50, 1_000)
# The facts that are read, folded and written at once are a few hundred thousand objects, which all die with their group. A look that comes
# while they live goes through each of them for nothing: up to a tenth of what a runner does that is far behind.
_ON_THEIR_WAY: Final = (500_000, 50, 1_000)


def allocate_for_groups() -> None:
    """In a process that follows the log in large groups."""
    gc.set_threshold(*_ON_THEIR_WAY)


def allocate_for_calls() -> None:
    """What a call leaves free goes back, and is not what the next one finds no room in.

    Before threads and sockets. Malloc stays as it is elsewhere than on the GNU C library.
    """
    gc.set_threshold(*_YOUNG)
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
