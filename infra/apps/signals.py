"""Where the signals of calls are kept, and by which program their machine runs."""

import hashlib
from functools import cache
from pathlib import Path

from events.sealing import KeyRing
from infra.adapters.signal_folder import SignalFolder
from infra.settings import Settings
from realtime import audio
from realtime.loop.observing import Observing
from realtime.rerun.keeping import KeepingPorts, keeping
from realtime.rerun.ports import SignalStore

# What decides about a call: two programs in which these are equal decide the same.
_MACHINE = ("audio.py", "consent", "hearing", "machine", "ports.py", "speaking", "thinking", "turns")


def signals_in(state_dir: Path) -> SignalStore:
    return SignalFolder(state_dir / "signals")


def kept_signals(settings: Settings, keyring: KeyRing) -> Observing:
    """Has the calls of a process kept, so that they can be run again."""
    return keeping(KeepingPorts(store=signals_in(settings.state_dir), keyring=keyring, program=program()))


@cache
def program() -> str:
    """The digest of the machine's own source."""
    whole, home = hashlib.blake2b(digest_size=16), Path(audio.__file__).parent
    for part in _MACHINE:
        path = home / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.relative_to(home).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()
