"""`aybiza projections`: which builds there are of each, and the ways to compare them, to let readers see another one, and to go back."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from commands.ports import HistoryLost, LogAway
from events.rooms import prepared_codec
from events.upkeep import BuildAct
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import Build, BuildState, CannotSwitch, build_of
from infra.adapters.postgres.comparing import Comparison, compare
from infra.adapters.postgres.connections import Pool, PostgresUnreachable, connected
from infra.apps.beside import build_beside, next_build, versions_of
from infra.apps.brokers import security_of
from infra.apps.cli import asynchronous
from infra.apps.standing import addresses_of, ask_api
from infra.apps.terminal import VerbFailed, print_json, results, watched
from infra.settings import load_settings
from projections.ports import Projection, StoreUnavailable, Superseded, named

projections = typer.Typer(help="Projections, and builds of them beside each other.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Name = Annotated[str, typer.Argument(help="A projection, such as calls.")]
Named = Annotated[str, typer.Argument(help="A build, such as calls.v1.b2.")]
Because = Annotated[str, typer.Option("--because", help="Why; it stays on the log.")]
_NEXT: Mapping[BuildState, str] = {
    BuildState.WARM: "aybiza projections compare {name}, then switch {name} --because WHY",
    BuildState.BUILDING: "aybiza projections resume {build}, if nobody builds it any more",
    BuildState.PAUSED: "aybiza projections resume {build}",
}


@projections.command("list")
@asynchronous
async def list_builds(*, json: Json = False) -> None:
    """What is folded, what readers see, how far each build is, and how large."""
    async with _pool() as pool:
        there, extents = await builds.standing(pool), await builds.extents(pool)
        bytes_of = await builds.sizes(pool, there)
    live = {each.name: extents.get(each.projection, builds.Extent()).records for each in there if each.state is BuildState.LIVE}
    found = [
        asdict(each)
        | {
            "records": (records := extents.get(each.projection, builds.Extent()).records),
            "behind": max(live.get(each.name, records) - records, 0), "bytes": bytes_of.get(each.projection, 0),
        }
        for each in there
    ]  # fmt: skip
    if json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("build", "state", "records", "behind", "MB", "next"):
        table.add_column(heading, justify="right" if heading in ("records", "behind", "MB") else "left", overflow="fold")
    for each in found:
        what = _NEXT.get(each["state"], "").format(name=each["name"], build=each["projection"])
        figures = (str(each["records"]), str(each["behind"]), f"{each['bytes'] / 1e6:.1f}")
        table.add_row(each["projection"], each["state"].value, *figures, what)
    results.print(table)


@projections.command("compare")
@asynchronous
async def compare_builds(name: Name, build: Annotated[str | None, typer.Argument()] = None, *, json: Json = False) -> None:
    """What would change if readers saw the other build: rows that differ, by key and column; exit code 1 if there are any."""
    async with _pool() as pool:
        live, other = await _live_and_other(pool, name, build)
        report = await compare(pool, _code(live), _code(other))
    if json:
        print_json(asdict(report) | {"same": report.same})
    else:
        _show(report)
    if not report.same:
        raise typer.Exit(1)


@projections.command("switch")
@asynchronous
async def switch(name: Name, because: Because, build: Annotated[str | None, typer.Argument()] = None) -> None:
    """Let readers see the other build, all at once. The one that they saw goes on being folded, so that one can go back."""
    async with _pool() as pool:
        _, other = await _live_and_other(pool, name, build)
        await _order(other, BuildAct.SWITCH, because)
        await _switch(pool, other)


@projections.command("rollback")
@asynchronous
async def roll_back(name: Name, because: Because) -> None:
    """Let readers see again what they saw before the last switch."""
    async with _pool() as pool:
        seen = [each for each in await builds.standing(pool, name) if each.state is BuildState.WARM and each.live_since is not None]
        if not seen:
            raise VerbFailed(f"There is no build of {name} that readers saw before and that is kept warm. Type: aybiza projections list")
        before = max(seen, key=lambda each: (each.live_since, each.build))
        await _order(before, BuildAct.ROLL_BACK, because)
        await _switch(pool, before)


@projections.command("pause")
@asynchronous
async def pause(build: Named, because: Because) -> None:
    """Let a build that is not live stay as it is. Whoever folds it stops at its next write."""
    async with _pool() as pool:
        found = await _build(pool, build)
        if found.state is BuildState.LIVE:
            raise VerbFailed(f"{build} is live: readers see it.")
        await _order(found, BuildAct.PAUSE, because)
        await builds.mark(pool, build, BuildState.PAUSED)
    results.print(f"{build} is paused. Type: aybiza projections resume {build}")


@projections.command("resume")
@asynchronous
async def resume(build: Named, because: Because) -> None:
    """Go on with a build from where it stands, whether it was paused or whoever built it died."""
    async with _pool() as pool:
        found = await _build(pool, build)
        if found.state not in (BuildState.PAUSED, BuildState.BUILDING):
            raise VerbFailed(f"{build} is {found.state.value}: there is nothing to go on with.")
        await _order(found, BuildAct.RESUME, because)
        await fold_beside(pool, _code(found))


@projections.command("drop")
@asynchronous
async def drop(build: Named, because: Because) -> None:
    """Throw away a build that is not live."""
    async with _pool() as pool:
        found = await _build(pool, build)
        if found.state is BuildState.LIVE:
            raise VerbFailed(f"{build} is live: readers would have nothing. Switch to another build first.")
        await _order(found, BuildAct.DROP, because)
        await builds.forget(pool, found)
    results.print(f"{build} is dropped.")


async def rebuild_beside(name: str, because: str, *, then_switch: bool) -> None:
    """`aybiza rebuild NAME --beside`: begin a build of the version that this program reads, or go on with one, up to where it is warm."""
    async with _pool() as pool:
        known = versions_of(name)
        if not known:
            raise VerbFailed(f"There is no projection {name}. Type: aybiza projections list")
        there = await builds.standing(pool, name)
        projection = next_build(known[-1], there)
        begun = any(each.projection == named(projection) for each in there)
        await _order(projection, BuildAct.RESUME if begun else BuildAct.BEGIN, because)
        await fold_beside(pool, projection)
        if then_switch:
            (build,) = [each for each in await builds.standing(pool, name) if each.projection == named(projection)]
            if build.state is BuildState.WARM:
                await _order(build, BuildAct.SWITCH, because)
                await _switch(pool, build)


async def fold_beside(pool: Pool, projection: Projection) -> None:
    """Build until it is warm or paused, and say what one can do then."""
    settings = load_settings()
    security = security_of(settings)
    addresses = await addresses_of(settings, "kafka")
    try:
        async with AsyncExitStack() as stack:
            kafka = await stack.enter_async_context(KafkaLog(addresses.kafka, security=security))
            reader = KafkaLogReader(addresses.kafka, SchemaTopic(kafka, prepared_codec()), security=security)
            progress = stack.enter_context(watched())
            state = await build_beside(reader, pool, projection, progress=progress)
    except Superseded as error:
        raise VerbFailed(f"Somebody else builds {named(projection)}.") from error
    except (KafkaUnreachable, LogAway, HistoryLost) as error:
        raise VerbFailed(str(error)) from error
    results.print(f"{named(projection)} is {state.value}. Type: {_NEXT[state].format(name=projection.name, build=named(projection))}")


async def _switch(pool: Pool, build: Build) -> None:
    before = await builds.switch(pool, build, versions_of(build.name))
    if before is None:
        results.print(f"Readers see {build.projection}.")
    else:
        back = f"aybiza projections rollback {build.name} --because WHY"
        results.print(f"Readers see {build.projection}; {before.projection} is kept warm. Back: {back}")


async def _order(build: Build | Projection, act: BuildAct, because: str) -> None:
    about = build.projection if isinstance(build, Build) else named(build)
    order = {"projection": build.name, "build": about, "act": act.value, "because": because}
    answer = await asyncio.to_thread(ask_api, "POST", "/v1/upkeep/builds", None, order)
    if answer.status != 202:
        raise VerbFailed(answer.document.get("detail") or f"The API answers {answer.status}.")


def _code(build: Build) -> Projection:
    for each in versions_of(build.name):
        if each.version == build.version:
            return build_of(each, build.build)
    raise VerbFailed(f"The fold of {build.projection} is not in this program.")


async def _build(pool: Pool, name: str) -> Build:
    there = await builds.standing(pool)
    for each in there:
        if each.projection == name:
            return each
    raise VerbFailed(f"There is no build {name}. There are: {', '.join(each.projection for each in there)}")


async def _live_and_other(pool: Pool, name: str, build: str | None) -> tuple[Build, Build]:
    there = await builds.standing(pool, name)
    live = next((each for each in there if each.state is BuildState.LIVE), None)
    others = [each for each in there if each is not live and (each.projection == build if build else each.state is BuildState.WARM)]
    if not others:
        raise VerbFailed(
            f"No {build or 'warm build'} stands beside {name}. Type: aybiza rebuild {name} --beside, or aybiza projections list"
        )
    other = max(others, key=lambda each: (each.version, each.build))
    return live or other, other


def _show(report: Comparison) -> None:
    results.print(f"{report.old}: {report.rows[0]} rows; {report.new}: {report.rows[1]} rows")
    if report.columns_of_one:
        results.print(f"only one of them has the columns {', '.join(report.columns_of_one)}")
    if report.differing:
        table = Table(box=None, pad_edge=False)
        for heading in ("key", "in", "columns"):
            table.add_column(heading, overflow="fold")
        for each in report.differing:
            table.add_row(" ".join(each.key), each.where, ", ".join(each.columns))
        results.print(table)
    more = "more than " if report.cut else ""
    results.print(f"{more}{len(report.differing)} rows differ" if report.differing else "No row differs.")
    if report.digests is not None:
        same = "the same" if report.digests[0] == report.digests[1] else f"not the same: {report.digests[1][:16]}…"
        results.print(f"SHA-256 at the same place of the log: {report.digests[0][:16]}…, {same}")


@asynccontextmanager
async def _pool() -> AsyncIterator[Pool]:
    addresses = await addresses_of(load_settings(), "postgres")
    try:
        async with connected(addresses.postgres, purpose="command line", durable=False) as pool:
            yield pool
    except (PostgresUnreachable, StoreUnavailable, CannotSwitch) as error:
        raise VerbFailed(str(error)) from error
