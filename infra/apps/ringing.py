"""Rings a number of ours as a caller would: a process of its own that speaks the carrier's protocol and sends audio only."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.apps.installation import Installation

_LONGEST_SECONDS = 300.0


class RingingFailed(Exception):
    """The caller's process broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the caller is to say; when, is as in `infra.emulators.twilio.caller.Line`."""

    text: str
    after_silence_ms: int = 900
    barge_in_after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A line as the caller said it, in milliseconds of the media stream."""

    text: str
    started_ms: int
    ended_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallersRecord:
    """The call as the caller's side has it. `notes`: what the carrier did, in order."""

    call_sid: str
    said: tuple[Spoken, ...]
    notes: tuple[dict[str, Any], ...]
    duration_ms: int


async def ring(
    installation: Installation,
    url: str,
    *,
    number: str,
    caller: str,
    lines: Sequence[Line],
    patience_ms: int = 8000,
    ear: Path | None = None,
) -> CallersRecord:
    """Place one call and wait for its end. `ear`: a folder for what the caller said and heard. Raises RingingFailed."""
    wish = {
        "webhook": f"{url}/twilio/voice", "account_sid": installation.twilio_account_sid, "auth_token": installation.twilio_auth_token,
        "number": number, "caller_number": caller, "lines": [asdict(line) for line in lines], "patience_ms": patience_ms,
        "ear": None if ear is None else str(ear),
    }  # fmt: skip
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "infra.emulators.twilio", stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            out, err = await process.communicate(json.dumps(wish).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RingingFailed(f"the caller's process ended with {process.returncode}: {err.decode(errors='replace')[-500:]}")
    record = json.loads(out)
    return CallersRecord(
        call_sid=record["call_sid"], said=tuple(Spoken(**line) for line in record["said"]), notes=tuple(record["notes"]),
        duration_ms=record["duration_ms"],
    )  # fmt: skip
