"""A caller as a process of its own: a call described in JSON on standard input, its record in JSON on standard output.

{"webhook": "http://…/twilio/voice", "account_sid": "AC…", "auth_token": "…", "number": "+1…", "caller_number": "+1…",
 "lines": [{"text": "…", "after_silence_ms": 900, "barge_in_after_ms": null}], "voice": "rms", "patience_ms": 8000,
 "ear": "folder for said.ulaw and heard.ulaw, or null"}
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from infra.adapters.flite import synthesise
from infra.emulators.twilio.caller import Caller, Line
from infra.emulators.twilio.carrier import CarrierCall


async def place(wish: dict[str, Any]) -> dict[str, Any]:
    """Place one call; returns the caller's own record of it."""
    lines = []
    for line in wish["lines"]:
        mulaw = await synthesise(line["text"], voice=wish.get("voice", "rms"))
        lines.append(Line(text=line["text"], mulaw=mulaw, after_silence_ms=line.get("after_silence_ms", 900),
                          barge_in_after_ms=line.get("barge_in_after_ms")))  # fmt: skip
    caller = Caller(lines=lines, patience_ms=wish.get("patience_ms", 8000))
    said, heard = bytearray(), bytearray()

    def to_ear(_at_ms: int, spoken: bytes, played: bytes) -> None:
        said.extend(spoken)
        heard.extend(played)

    call = CarrierCall(
        webhook=wish["webhook"], account_sid=wish["account_sid"], auth_token=wish["auth_token"], number=wish["number"],
        caller_number=wish["caller_number"], caller=caller, to_ear=to_ear,
    )  # fmt: skip
    await call.place()
    if wish.get("ear"):
        keep(Path(wish["ear"]), bytes(said), bytes(heard))
    return {"call_sid": call.call_sid, "said": [asdict(line) for line in caller.said], "notes": call.notes, "duration_ms": len(said) // 8}


def keep(folder: Path, said: bytes, heard: bytes) -> None:
    """What the caller said and heard, 8 kHz mu-law, tick by tick."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "said.ulaw").write_bytes(said)
    (folder / "heard.ulaw").write_bytes(heard)


def main() -> None:
    """Read the wish, place the call, print the record."""
    print(json.dumps(uvloop.run(place(json.load(sys.stdin)))), flush=True)  # noqa: T201 - the record is this program's output


if __name__ == "__main__":
    main()
