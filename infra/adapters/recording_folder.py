"""Recordings as sealed files in a folder: one file a call, readable only with the caller's own key."""

import asyncio
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from events.sealing import KeyRing
from realtime.ports import RecordedStretch

_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_LAYOUT = 1


class RecordingFolder:
    """A RecordingStore. A file is a line of JSON (layout, subject, where each stretch begins and how long it is) and one sealed box."""

    def __init__(self, folder: Path, keyring: KeyRing) -> None:
        self._folder, self._keyring = folder, keyring

    async def put(self, call_id: str, stretches: Sequence[RecordedStretch], *, subject: str) -> str:
        return await asyncio.to_thread(self._write, call_id, tuple(stretches), subject)

    async def get(self, call_id: str) -> Sequence[RecordedStretch]:
        """Raises KeyErased or BrokenSeal where the caller's key is gone or the file was altered."""
        return await asyncio.to_thread(self._read, call_id)

    def _path(self, call_id: str) -> Path:
        if not _CALL_ID.match(call_id):
            raise ValueError(f"{call_id!r} cannot be the name of a recording")
        return self._folder / f"{call_id}.recording"

    def _write(self, call_id: str, stretches: Sequence[RecordedStretch], subject: str) -> str:
        path = self._path(call_id)
        head = {
            "layout": _LAYOUT,
            "subject": subject,
            "stretches": [{"from_ms": stretch.from_ms, "bytes": len(stretch.caller)} for stretch in stretches],
        }
        box = self._keyring.seal_bytes(subject, b"".join(stretch.caller + stretch.agent for stretch in stretches))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        with draft.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n" + box)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return path.name

    def _read(self, call_id: str) -> Sequence[RecordedStretch]:
        try:
            line, _, box = self._path(call_id).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return ()
        head = json.loads(line)
        plain = self._keyring.open_bytes(head["subject"], box)
        stretches, at = [], 0
        for stretch in head["stretches"]:
            length = stretch["bytes"]
            sides = plain[at : at + length], plain[at + length : at + 2 * length]
            stretches.append(RecordedStretch(from_ms=stretch["from_ms"], caller=sides[0], agent=sides[1]))
            at += 2 * length
        return tuple(stretches)
