"""`aybiza calls rerun`: runs calls again by the pure machine, from the signals that were kept, and says whether each does what it did."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from events.calls.signals import SignalsKept
from events.sealing import KeyErased, KeyRing
from events.streams import StreamId
from infra.apps.recording_store import opened_objects
from infra.apps.rerun_words import effect_line, signal_line
from infra.apps.signals import program
from infra.apps.standing import ReadSide, read_side
from infra.apps.story import ERASED
from infra.apps.terminal import VerbFailed, print_json, results
from infra.apps.timeline import clock
from infra.settings import load_settings
from projections.calls import CALLS, Call
from projections.queries import JournalRows, cursor_of
from realtime.rerun.changing import Change, UnknownChange, change_of
from realtime.rerun.ports import SignalStore
from realtime.rerun.rerunning import Difference, Outcome, run_again
from realtime.rerun.runs import Kept, RunBroken, load, understood
from realtime.rerun.supposing import Supposed, suppose
from realtime.rerun.words import UnknownWord

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A run of a call, run again. `trouble`: why it could not be; `excused`: which is nobody's fault, as where the caller is forgotten."""

    call_id: str
    run: str = ""
    outcome: Outcome | None = None
    supposed: Supposed | None = None
    proven: int = 0
    same_program: bool = True
    trouble: str = ""
    excused: bool = False

    @property
    def well(self) -> bool:
        return self.excused or (not self.trouble and (self.outcome is None or self.outcome.difference is None))


async def rerun(
    call_id: Annotated[str | None, typer.Argument(help="call_…, or `last` for the newest.")] = None,
    *,
    change: Annotated[
        list[str] | None, typer.Option("--with", help="What if: prompt=…, threshold.NAME=…, wording.NAME=…; may be said several times.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The newest calls, instead of one.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many of them at most.")] = 1000,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Run calls again from their kept signals: each must decide what it decided. Or see what another agent would have done."""
    if (call_id is None) is not every:
        raise VerbFailed("Which call? Type: aybiza calls rerun CALL, or aybiza calls rerun --all")
    try:
        what_if = change_of(change) if change else None
    except UnknownChange as error:
        raise VerbFailed(f"{error}.") from error
    async with read_side() as side, opened_objects(load_settings()) as objects:
        found = [await _call(side, call_id)] if call_id is not None else await _newest(side, limit)
        again = [each for call in found for each in await run_call(objects.signals, side.journal, side.key_ring, call, what_if)]
    if json:
        print_json([_plain(each) for each in again])
    else:
        _show(again, whole=call_id is not None)
    if not all(each.well for each in again):
        raise typer.Exit(1)


async def run_call(store: SignalStore, journal: JournalRows, keyring: KeyRing, call: Call, change: Change | None = None) -> list[Again]:
    """Every run of a call: one for each media stream that it was held over."""
    facts = await journal.stream_events(StreamId(call.tenant, "calls", call.id))
    told = [recorded.fact for recorded in facts if isinstance(recorded.fact, SignalsKept)]
    try:
        runs = await load(store, keyring, call.id, told)
        return [_again(keyring, call, kept, change) for kept in runs] or [
            Again(call_id=call.id, trouble="nothing of it was kept", excused=True)
        ]
    except KeyErased:
        return [Again(call_id=call.id, trouble=ERASED, excused=True)]
    except (RunBroken, OSError) as error:
        return [Again(call_id=call.id, trouble=str(error))]


def _again(keyring: KeyRing, call: Call, kept: Kept, change: Change | None) -> Again:
    try:
        run = understood(kept, keyring)
    except UnknownWord as error:
        return Again(call_id=call.id, run=kept.name, trouble=str(error))
    if change is not None:
        return Again(call_id=call.id, run=kept.name, supposed=suppose(kept, run, change), proven=kept.proven)
    return Again(
        call_id=call.id, run=kept.name, outcome=run_again(kept, run), proven=kept.proven, same_program=kept.program == program()
    )  # fmt: skip


def _show(again: Sequence[Again], *, whole: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("call", "stream", "steps", "windows", "proven", ""):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("steps", "windows", "proven") else "left")
    for each in again:
        if each.outcome is not None and (whole or not each.well or len(again) <= _PAGE):
            steps, windows = str(each.outcome.steps), str(each.outcome.windows)
            table.add_row(each.call_id, each.run, steps, windows, str(each.proven), _result(each))
        elif each.trouble:
            table.add_row(each.call_id, each.run, "", "", "", Text(each.trouble, style="dim" if each.excused else "red"))
    if table.row_count:
        results.print(table)
    for each in again:
        if each.supposed is not None:
            _show_supposed(each.supposed)
        elif each.outcome is not None and each.outcome.difference is not None:
            _show_difference(each, each.outcome.difference)
    if not whole:
        excused, same = sum(each.excused for each in again), sum(each.well and not each.excused for each in again)
        results.print(
            f"{same} of {len(again) - excused} runs are as they were" + (f"; of {excused} calls nothing is left" if excused else "")
        )


def _result(each: Again) -> Text:
    if each.well:
        return Text("identical" if each.same_program else "identical, by another version of the machine", style="green")
    difference = each.outcome.difference if each.outcome else None
    return Text(f"differs at step {difference.step}, {clock(difference.at_ms)}" if difference else each.trouble, style="red")


def _show_difference(each: Again, difference: Difference) -> None:
    results.print(Text(f"\n{each.call_id}, step {difference.step}, {clock(difference.at_ms)}:", style="bold"))
    _show_sides(difference)
    if not each.same_program:
        results.print(Text("The machine's source is not the one that the call was held by.", style="dim"))


def _show_sides(difference: Difference) -> None:
    told = "the detector's windows" if difference.signal is None else signal_line(difference.signal)
    results.print(Text(f"  told   {told}", style="dim"))
    for side, effects, style in (("then", difference.then, "yellow"), ("now ", difference.now, "cyan")):
        for effect in effects or ("nothing",):
            results.print(Text(f"  {side}   {effect_line(effect)}", style=style))


def _show_supposed(supposed: Supposed) -> None:
    if supposed.divergence is None:
        results.print("Nothing would have been otherwise.")
        return
    first = supposed.divergence
    results.print(Text(f"The first that would have been otherwise, at {clock(first.at_ms)}, step {first.step}:", style="bold"))
    _show_sides(first)
    for heading, lines, style in (("What followed", supposed.was, "yellow"), ("What would have followed", supposed.would_be, "cyan")):
        results.print(Text(f"{heading}:", style="bold"))
        for at_ms, line in lines:
            results.print(Text(f"  {clock(at_ms)}  {line}", style=style))
    for remark in supposed.remarks:
        results.print(Text(remark, style="dim"))


def _plain(each: Again) -> dict[str, Any]:
    difference = each.outcome.difference if each.outcome else each.supposed.divergence if each.supposed else None
    sides = None if difference is None else {
        "step": difference.step, "at_ms": difference.at_ms, "signal": None if difference.signal is None else signal_line(difference.signal),
        "then": [effect_line(effect) for effect in difference.then], "now": [effect_line(effect) for effect in difference.now],
    }  # fmt: skip
    what_if = None if each.supposed is None else {
        "was": each.supposed.was, "would_be": each.supposed.would_be, "remarks": each.supposed.remarks,
    }  # fmt: skip
    return {
        "call_id": each.call_id, "run": each.run, "identical": None if each.supposed or each.trouble else each.well,
        "steps": each.outcome.steps if each.outcome else None, "windows": each.outcome.windows if each.outcome else None,
        "proven_stretches": each.proven, "same_program": each.same_program, "difference": sides, "supposed": what_if,
        "trouble": each.trouble or None,
    }  # fmt: skip


async def _newest(side: ReadSide, limit: int) -> list[Call]:
    found: list[Call] = []
    while len(found) < limit:
        after = cursor_of(found[-1]) if found else None
        page = await side.rows.find(CALLS, organisation=None, after=after, limit=min(_PAGE, limit - len(found)))
        # A call that was never answered had no machine.
        found += page
        if len(page) < _PAGE:
            break
    return [call for call in found if call.answered_at is not None]


async def _call(side: ReadSide, call_id: str) -> Call:
    where: dict[str, object] = {} if call_id == "last" else {"id": call_id}
    found = await side.rows.find(CALLS, organisation=None, where=where, limit=1)
    if not found:
        raise VerbFailed("There are no calls yet." if call_id == "last" else f"There is no call {call_id}. Type: aybiza calls list")
    return found[0]
