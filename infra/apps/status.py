"""`aybiza status`: what runs, where, what it takes, and what has died."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from events.rooms import prepared_codec
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres.connections import PostgresUnreachable, connected
from infra.apps.brokers import security_of
from infra.apps.lag import Lag, LagUnknown, lag_of
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, print_json, results
from infra.apps.whereabouts import Whereabouts, processes
from infra.local.children import Child, memory_bytes
from infra.local.stack import Condition, ServiceStatus, stack_status
from infra.settings import Settings, load_settings

MEBIBYTE = 1 << 20
# What the whole stack may take while nothing happens.
ALLOWED_BYTES = 1536 * MEBIBYTE
_WELL: tuple[Condition, ...] = ("running", "given")
_STYLES: dict[Condition, str] = {"running": "green", "given": "green", "stopped": "yellow", "died": "red", "silent": "red", "away": "red"}


async def status(*, json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show the three services and the platform's processes. The exit code is 0 when all services answer, 1 otherwise."""
    settings = load_settings()
    found = await stack_status(settings.state_dir, settings)
    ours = processes(settings.state_dir)
    lag, why = await _lag(settings)
    if json:
        told = {"processes": [asdict(each) | {"memory_bytes": _memory(each)} for each in ours]}
        print_json(_as_data(found) | told | {"lag": None if lag is None else asdict(lag)})
    else:
        _show(found)
        if ours:
            _show_processes(ours)
        if lag is not None:
            results.print(f"\nbehind the log: the journal {lag.journal} records, the slowest projection {lag.slowest}")
            if lag.cold:
                results.print(f"parts of the journal that are cold and not packed: {lag.cold}{_packing(lag)}", markup=False)
        elif all(service.condition in _WELL for service in found):
            results.print(f"\nbehind the log: not known ({why})", markup=False, soft_wrap=True)
    if any(service.condition not in _WELL for service in found):
        raise typer.Exit(1)


async def _lag(settings: Settings) -> tuple[Lag | None, str]:
    """How far the tables are behind the log, or why that is not known."""
    try:
        addresses = await addresses_of(settings, "kafka", "postgres")
        security = security_of(settings)
        async with KafkaLog(addresses.kafka, security=security) as kafka, connected(addresses.postgres, purpose="status", most=2) as pool:
            reader = KafkaLogReader(addresses.kafka, SchemaTopic(kafka, prepared_codec()), security=security)
            return await lag_of(reader, pool), ""
    except (KafkaUnreachable, LagUnknown, PostgresUnreachable, VerbFailed) as cause:
        return None, str(cause)


def _packing(lag: Lag) -> str:
    return f" ({lag.packing} is being packed)" if lag.packing else ""


def _memory(process: Whereabouts) -> int:
    return memory_bytes(Child(pid=process.pid, started=process.started))


def _show_processes(ours: Sequence[Whereabouts]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("process", "pid", "memory", "where"):
        table.add_column(heading, justify="right" if heading == "memory" else "left", overflow="fold")
    for each in ours:
        where = ", ".join(dict.fromkeys(address for address in (each.api, each.voice, each.peer) if address is not None))
        table.add_row(each.role, str(each.pid), f"{_memory(each) / MEBIBYTE:.0f} MB", where)
    results.print()
    results.print(table)


def _total(found: list[ServiceStatus]) -> int:
    return sum(service.memory_bytes or 0 for service in found)


def _as_data(found: list[ServiceStatus]) -> dict[str, object]:
    services = {
        service.name: {
            "condition": service.condition,
            "address": service.address,
            "pid": service.pid,
            "memory_bytes": service.memory_bytes,
            "log": None if service.log is None else str(service.log),
            "reason": service.reason,
        }
        for service in found
    }
    return {"services": services, "memory_bytes": _total(found), "memory_allowed_bytes": ALLOWED_BYTES}


def _show(found: list[ServiceStatus]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("service", "condition", "pid", "memory", "address or reason"):
        table.add_column(heading, justify="right" if heading == "memory" else "left", overflow="fold")
    for service in found:
        memory = "" if service.memory_bytes is None else f"{service.memory_bytes / MEBIBYTE:.0f} MB"
        condition = f"[{_STYLES[service.condition]}]{service.condition}[/]"
        table.add_row(service.name, condition, str(service.pid or ""), memory, service.reason or service.address or "")
    results.print(table)
    results.print(f"\nmemory: {_total(found) / MEBIBYTE:.0f} MB of the {ALLOWED_BYTES / MEBIBYTE:.0f} MB that the local stack may take")
    ill = [service for service in found if service.condition not in _WELL]
    for service in ill:
        if service.log is not None and service.condition in ("died", "silent"):
            results.print(f"{service.name} left its words in {service.log}", markup=False, soft_wrap=True)
    if any(service.condition != "away" for service in ill):
        results.print("Type: aybiza up")
