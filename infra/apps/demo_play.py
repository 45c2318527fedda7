"""What `aybiza demo` plays: one spoken call, from the ring to the record, and meanwhile one whose worker is killed."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from events.positions import Position
from infra.apps.alongside import alongside
from infra.apps.calling import Reach, call_and_tell
from infra.apps.demo_business.opening import CALLER, Business, OpeningFailed, configuration, open_business
from infra.apps.demo_checks import Finding, findings
from infra.apps.demo_second_act import SecondAct, Stage, opened_stage
from infra.apps.installation import open_installation
from infra.apps.live import narrated
from infra.apps.logs import logging_to
from infra.apps.platform import PLATFORM_FAILURES, Platform, running_platform
from infra.apps.rebuild import RebuildReport, rebuild_and_compare
from infra.apps.ringing import Line, RingingFailed
from infra.apps.run import told_to_stop
from infra.apps.terminal import VerbFailed, results, watched
from infra.apps.timeline import render
from infra.local.services import Progress
from infra.local.stack import Addresses
from infra.settings import Settings

LINES = (
    Line(text="Yes, you may."),
    Line(text="What time do you close on Fridays?"),
    Line(text="I would like to book a cleaning for Tuesday morning."),
    Line(text="Please tell me something about your dentists.", after_silence_ms=1600),
    Line(text="Please stop the recording.", barge_in_after_ms=2200),
    Line(text="Thanks a lot, goodbye."),
)

_SETTLE_SECONDS = 10.0
_MENDABLE: tuple[type[Exception], ...] = (*PLATFORM_FAILURES, OpeningFailed, RingingFailed)


async def play(settings: Settings, services: Addresses) -> None:
    """Raises VerbFailed where a part cannot begin, or something is not as promised."""
    log = settings.state_dir / "logs" / "platform.log"
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(logging_to(log))
            installation = stack.enter_context(open_installation(settings))
            with watched() as progress:
                progress("platform", "starting")
                stage = await stack.enter_async_context(opened_stage(settings))
                platform = await stack.enter_async_context(running_platform(stage.settings, services, installation))
                progress("platform", "is ready")
                business = await _opened(platform, progress)
            found = await _play(platform, stage, business, settings.state_dir / "demo")
            broken = [each for each in found if not each.kept]
            if broken:
                raise VerbFailed("Not as promised: " + "; ".join(f"{each.promise} ({each.seen})" for each in broken))
            if sys.stdout.isatty():
                results.print(f"\nThe API is at {platform.url} (documentation: {platform.url}/docs). Ctrl-C ends it.", soft_wrap=True)
                await told_to_stop()
    except _MENDABLE as error:
        raise VerbFailed(f"{error}\nThe platform's own words are in {log}") from error


async def _opened(platform: Platform, progress: Progress) -> Business:
    progress("business", "opening Harbour Dental over the API")
    business = await open_business(platform.url, platform.installation.operator_key)
    await platform.read_side.directory.wait_for([Position.parse(each) for each in business.positions], _SETTLE_SECONDS)
    progress("business", "teaching the recogniser its words")
    await platform.engines.prepare(configuration())
    progress("business", "is open")
    return business


async def _play(platform: Platform, stage: Stage, business: Business, folder: Path) -> Sequence[Finding]:
    reach = replace(reach_of(platform), voice=stage.url)
    rang = asyncio.Event()
    meanwhile = SecondAct(stage, reach, business, platform.reader)

    def aloud(line: Text) -> None:
        results.print(line, soft_wrap=True)
        rang.set()

    results.print(Rule("A caller rings Harbour Dental"))
    # One call waits for words most of the time, and so does another.
    async with alongside({"the second act": lambda: meanwhile.play(rang, folder / "second-ear")}):
        async with narrated(platform.reader, platform.installation.key_ring, aloud, caller=CALLER):
            story = await call_and_tell(reach, business, LINES, caller=CALLER, ear=folder / "ear")
        results.print(render(story))
        wav = await platform.recordings.wav(story.call.tenant, story.call.id)
        path = folder / "call.wav"
        if wav is not None:
            await asyncio.to_thread(path.write_bytes, wav)
        results.print(Rule("Meanwhile another rang, and its worker was killed in mid-answer"))
        meanwhile.tell(lambda line: results.print(line, soft_wrap=True))
        await meanwhile.over.wait()
    found = [*findings(story, wav), *meanwhile.found, await _rebuild(platform)]
    results.print(Rule("What these calls prove"))
    results.print(_shown(found))
    results.print(f"\nThe recording, caller left and agent right: {path}", soft_wrap=True, markup=False)
    return found


def reach_of(platform: Platform) -> Reach:
    """The platform of this process."""
    return Reach(
        url=platform.url, voice=platform.url, installation=platform.installation, rows=platform.read_side.rows,
        journal=platform.read_side.journal,
    )  # fmt: skip


async def _rebuild(platform: Platform) -> Finding:
    results.print(Rule("Every projection deleted, and rebuilt from Kafka"))
    with watched() as progress:
        report = await rebuild_and_compare(platform.reader, platform.read_side.stores, progress=progress)
    results.print(_compared(report))
    unlike = [each.name for each in report.projections if not each.same]
    seen = (
        f"unlike: {', '.join(unlike)}"
        if unlike
        else f"{len(report.projections)} tables from {report.records} records in {report.seconds:.1f} s"
    )
    return Finding(promise="every table rebuilt from the log is the same, byte for byte", kept=not unlike, seen=seen)


def _compared(report: RebuildReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("table", "rows", "SHA-256 before", "SHA-256 after", ""):
        table.add_column(heading, justify="right" if heading == "rows" else "left", no_wrap=True)
    for each in report.projections:
        verdict = Text("same", "green") if each.same else Text("DIFFERENT", "bold red")
        table.add_row(each.name, str(each.rows), (each.before or "")[:16], each.after[:16], verdict)
    return table


def _shown(found: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for each in found:
        table.add_row(Text("✓", "green") if each.kept else Text("✗", "bold red"), Text(each.promise), Text(each.seen))
    return table
