"""`aybiza owners`: who writes each partition, whether they answer, how far behind they are, and what was dropped, with its offsets.

It believes nobody: terms, claims and dropped records are read from the log by the rule of admission, whether or not a platform runs.
An owner is asked one thing only, at the address in its claim: how far it is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from commands.ports import Claim, HistoryLost, LogAway, Place
from commands.routing.frames import AskStanding, BrokenFrame, Standing, decode_answer, encode_request
from commands.routing.ports import PeerBusy, Peers, Silent, Unreachable
from events.admission import Verdict
from events.rooms import ROOMS, prepared_codec
from events.streams import topic_of
from infra.adapters.kafka.claims import ClaimsTopic
from infra.adapters.kafka.reader import ClaimIndex, KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.peer_identity import IdentityUnusable
from infra.adapters.peers import SocketPeers
from infra.apps.brokers import security_of
from infra.apps.hands import Dropped, Hands, read_hands
from infra.apps.owning import identity_of
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, print_json, results
from infra.apps.whereabouts import Whereabouts, processes
from infra.settings import load_settings

_ASK_SECONDS = 0.5
_AT_ONCE = 8
_LAST_RECORDS = 100_000
_DROPPED = (Verdict.SUPERSEDED, Verdict.LOST_CLAIM)

Answer: TypeAlias = Literal["yes", "no", "silent", "not the owner", "nobody"]
_STYLES: Mapping[Answer, str] = {"yes": "green", "no": "yellow", "silent": "red", "not the owner": "red", "nobody": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A partition as the log has it, and what its owner says: `confirmed` is the offset up to which it has read and written."""

    hands: Hands
    answer: Answer = "nobody"
    confirmed: int | None = None
    process: Whereabouts | None = None

    @property
    def holder(self) -> Claim | None:
        """The claim in force, unless it was given up."""
        return self.hands.claims[-1] if self.hands.claims and self.hands.released is None else None

    @property
    def lag(self) -> int | None:
        """How many records lie behind what the owner has confirmed."""
        return None if self.confirmed is None else max(0, self.hands.end - self.confirmed)


async def owners(
    rooms: Annotated[list[str] | None, typer.Argument(help="Which rooms' topics; all of them when none is named.")] = None,
    *,
    whole: Annotated[bool, typer.Option("--whole", help="Read from the log's beginning, however long that takes.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show per partition who writes it, whether they answer, their lag, and what was dropped."""
    settings = load_settings()
    if unknown := sorted(set(rooms or ()) - set(ROOMS)):
        raise VerbFailed(f"There is no room {', '.join(unknown)}. There are: {', '.join(sorted(ROOMS))}")
    addresses, running = await addresses_of(settings, "kafka"), processes(settings.state_dir)
    try:
        async with AsyncExitStack() as stack:
            security = security_of(settings)
            log = await stack.enter_async_context(KafkaLog(addresses.kafka, security=security))
            schemas = SchemaTopic(log, prepared_codec())
            reader = KafkaLogReader(addresses.kafka, schemas, security=security)
            ends = await reader.end_offsets([topic_of(room) for room in rooms or sorted(ROOMS)])
            claims = ClaimsTopic(addresses.kafka, log, schemas, schemas.codec, security=security)
            index = None if whole else await stack.enter_async_context(claims)
            hands = await _all_hands(log, ends, index)
            peers = await stack.enter_async_context(SocketPeers(identity_of(settings).client))
            seen = await asked(hands, peers, running)
    except (LogAway, HistoryLost, IdentityUnusable) as error:
        raise VerbFailed(str(error)) from error
    if json:
        print_json([as_data(each) for each in seen])
        return
    results.print(shown(seen))
    for line in told(seen):
        results.print(line, soft_wrap=True)
    if not running:
        results.print("No process of the platform runs here: this is what the log says.", style="yellow")


async def _all_hands(log: KafkaLog, ends: Mapping[tuple[str, int], int], index: ClaimIndex | None) -> Sequence[Hands]:
    codec, at_once = prepared_codec(), asyncio.Semaphore(_AT_ONCE)

    async def one(place: Place, end: int) -> Hands:
        async with at_once:
            return await read_hands(log, codec, place, end, last_records=None if index is None else _LAST_RECORDS, index=index)

    async with asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(one(Place(*place), end), name=f"read {place}") for place, end in sorted(ends.items())]
    return [task.result() for task in reading]


async def asked(hands: Sequence[Hands], peers: Peers | None, running: Sequence[Whereabouts]) -> Sequence[Seen]:
    """Ask each owner how far it is. Without `peers` nobody is asked."""
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(_ask(each, peers, running), name=f"ask the owner of {each.place}") for each in hands]
    return [task.result() for task in asking]


async def _ask(hands: Hands, peers: Peers | None, running: Sequence[Whereabouts]) -> Seen:
    seen = Seen(hands=hands)
    if peers is None or seen.holder is None:
        return seen
    address = seen.holder.address
    process = next((each for each in running if each.peer == address), None)
    answer: Answer = "not the owner"
    confirmed = None
    try:
        told = decode_answer(await peers.ask(address, encode_request(AskStanding(address, hands.place)), _ASK_SECONDS))
        # Another owner may have claimed the partition since we read it.
        if isinstance(told, Standing) and told.fence.term >= hands.fence.term:
            answer, confirmed = "yes", told.next_offset
    except Unreachable:
        answer = "no"
    except (Silent, PeerBusy):
        answer = "silent"
    except BrokenFrame:
        answer = "not the owner"
    return Seen(hands=hands, answer=answer, confirmed=confirmed, process=process)


def as_data(seen: Seen) -> Mapping[str, Any]:
    """One partition for programs."""
    hands, holder = seen.hands, seen.holder
    process = seen.process
    return {
        "topic": hands.place.topic, "partition": hands.place.partition, "term": hands.fence.term,
        "owner": None if holder is None else holder.address,
        "process": None if process is None else {"role": process.role, "pid": process.pid},
        "answers": seen.answer, "end": hands.end, "confirmed": seen.confirmed, "lag": seen.lag, "read_from": hands.start,
        "claims": [{"term": each.term, "address": each.address, "offset": each.offset} for each in hands.claims],
        "dropped": [
            {"why": each.verdict.value, "term": each.term, "first": each.first, "last": each.last} for each in hands.dropped
        ],
    }  # fmt: skip


def shown(seen: Sequence[Seen]) -> Table:
    """The partitions for people: neighbours that stand alike are one line, those that have no record yet none."""
    table = Table(box=None, pad_edge=False)
    for heading in ("partitions", "term", "owner", "process", "answers", "lag", "dropped"):
        table.add_column(heading, justify="right" if heading in {"term", "lag", "dropped"} else "left", no_wrap=True)
    for _, alike in groupby((each for each in seen if each.hands.end > 0), key=_standing):
        some = list(alike)
        hands, holder, process = some[0].hands, some[0].holder, some[0].process
        last = some[-1].hands.place.partition
        name = short(hands.place) + (f"-{last}" if last > hands.place.partition else "")
        given_up = "given up" if hands.claims else ""
        dropped = sum(each.hands.count(verdict) for each in some for verdict in _DROPPED)
        foreign = sum(each.hands.count(Verdict.FOREIGN) for each in some)
        lags = [each.lag for each in some if each.lag is not None]
        table.add_row(
            name, str(hands.fence.term), given_up if holder is None else holder.address.partition("/")[0],
            "" if process is None else f"{process.role} {process.pid}", Text(some[0].answer, _STYLES[some[0].answer]),
            str(sum(lags)) if lags else "",
            Text(f"{foreign} FOREIGN, {dropped}", "red") if foreign else Text(str(dropped or ""), "yellow"),
        )  # fmt: skip
    return table


def _standing(seen: Seen) -> tuple[object, ...]:
    hands, holder = seen.hands, seen.holder
    return hands.place.topic, hands.fence.term, None if holder is None else holder.address, seen.answer


def short(place: Place) -> str:
    """A partition as people name it: by its room."""
    return f"{place.topic.split('.')[-2]}/{place.partition}"


def told(seen: Sequence[Seen]) -> Sequence[Text]:
    """Where the records lie that no reader takes, and why."""
    lines = []
    for each in seen:
        if each.hands.dropped:
            why = "; ".join(_why(each.hands, dropped) for dropped in each.hands.dropped)
            lines.append(Text(f"{short(each.hands.place)}: {why}", "red" if each.hands.count(Verdict.FOREIGN) else ""))
    untouched = sum(each.hands.end == 0 for each in seen)
    if untouched:
        lines.append(Text(f"{untouched} partitions have no record yet.", "dim"))
    late = sum(each.hands.start > 0 for each in seen)
    if late:
        lines.append(Text(f"{late} partitions were read from a late claim on; --whole reads them from 0.", "dim"))
    return lines


def _why(hands: Hands, dropped: Dropped) -> str:
    where = f"{dropped.first}" if dropped.first == dropped.last else f"{dropped.first} to {dropped.last}"
    over = max((claim for claim in hands.claims if claim.offset < dropped.first), key=lambda claim: claim.term, default=None)
    after = "which nobody had claimed" if over is None else f"after term {over.term} at {over.offset}"
    if dropped.verdict is Verdict.SUPERSEDED:
        return f"{where} superseded (term {dropped.term} {after})"
    if dropped.verdict is Verdict.LOST_CLAIM:
        return f"{where} a claim too late (term {dropped.term} {after})"
    said = "no header of ours" if dropped.term is None else f"term {dropped.term} {after}"
    return f"{where} FOREIGN ({said}): look for who else writes"
