"""`aybiza calls`: the calls that were and are, one of them whole, its recording, and the way to end it."""

import asyncio
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.table import Table
from rich.text import Text

from infra.apps.cli import asynchronous
from infra.apps.rerun import rerun
from infra.apps.standing import ReadSide, ask_api, read_side
from infra.apps.story import gather_story, in_clear, story_data
from infra.apps.terminal import VerbFailed, print_json, results
from infra.apps.timeline import clock, render
from projections.calls import CALLS, Call
from projections.queries import cursor_of

calls = typer.Typer(help="Look at calls, listen to them, end them.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
CallId = Annotated[str, typer.Argument(help="call_…, or `last` for the newest.")]
# Each plays a WAV file and returns.
_PLAYERS = (("aplay", "-q"), ("paplay",), ("afplay",), ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"))
_PAGE = 100


@calls.command("list")
@asynchronous
async def list_calls(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    organisation: Annotated[str | None, typer.Option(help="Only of this organisation (AYB-…).")] = None,
    *,
    json: Json = False,
) -> None:
    """The newest calls of the stack that is up."""
    async with read_side() as side:
        found = await _newest(side, organisation, limit)
        told = [_line(side, call) for call in found]
    if json:
        print_json(told)
        return
    if not told:
        results.print("There are no calls yet.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("call", "received", "caller", "turns", "stands"):
        table.add_column(heading, no_wrap=heading != "stands", overflow="fold", justify="right" if heading == "turns" else "left")
    for call, line in zip(found, told, strict=True):
        stands = line["ended"] or line["status"]
        table.add_row(call.id, f"{call.received_at:%m-%d %H:%M}", Text(line["caller"]), str(call.turns), Text(stands))
    results.print(table)


@calls.command("show")
@asynchronous
async def show_call(call_id: CallId, *, json: Json = False) -> None:
    """One call whole: who said and heard what, how fast, by which rule, at which cost, on whose consent."""
    async with read_side() as side:
        call = await _find(side, call_id)
        story = await gather_story(side.rows, side.journal, side.key_ring, call.tenant, call.id)
    if story is None:
        raise VerbFailed(f"There is no call {call_id}.")
    if json:
        print_json(story_data(story))
    else:
        results.print(render(story))


@calls.command("listen")
@asynchronous
async def listen(
    call_id: CallId,
    to: Annotated[Path | None, typer.Option(help="Where to put the WAV; else it lies in the present folder, named by the call.")] = None,
    reason: Annotated[str, typer.Option(help="Why you listen; it goes on record.")] = "not-stated",
    *,
    json: Json = False,
) -> None:
    """Put a call's recording into a WAV file, and play it where this machine has a player. That you did goes on record first."""
    async with read_side() as side:
        call = await _find(side, call_id)
    answer = ask_api("GET", f"/v1/calls/{call.id}/recording?{urlencode({'reason': reason})}", call.tenant)
    if answer.status == HTTPStatus.NOT_FOUND:
        raise VerbFailed(f"Nothing is kept of {call.id}.")
    if answer.status != HTTPStatus.OK:
        raise VerbFailed(answer.document.get("detail") or f"The API answers {answer.status}.")
    sound = answer.body
    path = to or Path(f"{call.id}.wav")
    path.write_bytes(sound)
    if json:
        print_json({"call_id": call.id, "wav": str(path.absolute()), "bytes": len(sound)})
        return
    results.print(str(path), markup=False, soft_wrap=True)
    player = next((known for known in _PLAYERS if shutil.which(known[0])), None)
    if player is not None and results.is_terminal:
        process = await asyncio.create_subprocess_exec(*player, str(path))
        await process.wait()


calls.command("rerun")(asynchronous(rerun))


@calls.command("hangup")
@asynchronous
async def hang_up(
    call_id: CallId, reason: Annotated[str, typer.Option(help="Goes on record.")] = "operator-hung-up", *, json: Json = False
) -> None:
    """Have a call ended by its worker."""
    async with read_side() as side:
        call = await _find(side, call_id)
    answer = ask_api("POST", f"/v1/calls/{call.id}/hangup", call.tenant, {"reason": reason})
    if answer.status != 202:
        raise VerbFailed(answer.document.get("detail") or f"The API answers {answer.status}.")
    if json:
        print_json({"call_id": call.id, **answer.document})
    else:
        results.print(f"{call.id} is told to end: {answer.document['position']}", markup=False, soft_wrap=True)


async def _newest(side: ReadSide, organisation: str | None, limit: int) -> list[Call]:
    found: list[Call] = []
    while len(found) < limit:
        after = cursor_of(found[-1]) if found else None
        page = await side.rows.find(CALLS, organisation=organisation, after=after, limit=min(_PAGE, limit - len(found)))
        found += page
        if len(page) < _PAGE:
            break
    return found


async def _find(side: ReadSide, call_id: str) -> Call:
    where: dict[str, object] = {} if call_id == "last" else {"id": call_id}
    found = await side.rows.find(CALLS, organisation=None, where=where, limit=1)
    if not found:
        raise VerbFailed("There are no calls yet." if call_id == "last" else f"There is no call {call_id}. Type: aybiza calls list")
    return found[0]


def _line(side: ReadSide, call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "received": call.received_at.isoformat(timespec="seconds"),
        "status": call.status.value,
        "caller": in_clear(side.key_ring, call.caller),
        "number": in_clear(side.key_ring, call.number),
        "turns": call.turns,
        "lasted": clock(call.duration_ms),
        "recording": call.recording.value,
        "ended": call.end_reason,
    }
