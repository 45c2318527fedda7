"""How the signals of calls are kept, and by which program their machine runs."""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from events.sealing import KeyRing
from realtime import audio
from realtime.loop.observing import Observing
from realtime.rerun.keeping import KeepingPorts, keeping
from realtime.rerun.ports import SignalStore

# What decides about a call: two programs in which these are equal decide the same.
_MACHINE = ("audio.py", "consent", "hearing", "machine", "ports.py", "speaking", "thinking", "turns")


def kept_signals(store: SignalStore, keyring: KeyRing, *, afar: bool) -> Observing:
    """Has the calls of a process kept, so that they can be run again. `afar`: each stretch costs a request, and they are longer."""
    ports = KeepingPorts(store=store, keyring=keyring, program=program())
    return keeping(replace(ports, every_seconds=2 * ports.every_seconds, told_every=2) if afar else ports)


@cache
def program() -> str:
    """The digest of the machine's own source."""
    whole, home = hashlib.blake2b(digest_size=16), Path(audio.__file__).parent
    for part in _MACHINE:
        path = home / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.relative_to(home).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()
