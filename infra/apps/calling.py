"""One call placed and told: rings, waits until everything that follows from the call is in the tables, and gathers its story."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.apps.demo_business.opening import Business
from infra.apps.installation import Installation
from infra.apps.ringing import CallersRecord, Line, RingingFailed, Spoken, ring
from infra.apps.story import CallStory, gather_story
from projections.calls import CALLS
from projections.queries import JournalRows, Rows

_POLL_SECONDS = 0.05
_SETTLE_SECONDS = 20.0
_WORD_GAP_MS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What is needed to ring a platform and to read what became of it; it may run in other processes.

    `url` is the API's, `voice` where the carrier's webhooks are.
    """

    url: str
    voice: str
    installation: Installation
    rows: Rows
    journal: JournalRows


async def call_and_tell(
    reach: Reach, business: Business, lines: Sequence[Line], *, caller: str, patience_ms: int = 8000, ear: Path | None = None
) -> CallStory:
    """Raises RingingFailed when the call did not come about or nothing of it can be read in time."""
    record = await ring(
        reach.installation, reach.voice, number=business.number, caller=caller, lines=lines, patience_ms=patience_ms, ear=ear
    )
    return await tell(reach, business, record)


async def tell(reach: Reach, business: Business, record: CallersRecord) -> CallStory:
    """The story of a call that was placed, once everything that follows from it is in the tables. Raises RingingFailed."""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            return await _settled(reach, business.organisation_id, record)
    except TimeoutError as cause:
        raise RingingFailed(f"the call's record is not complete after {_SETTLE_SECONDS:.0f} s; the carrier noted {record.notes}") from cause


async def _settled(reach: Reach, organisation_id: str, record: CallersRecord) -> CallStory:
    key_ring = reach.installation.key_ring
    while True:
        found = await reach.rows.find(CALLS, organisation=organisation_id, where={"call_sid": record.call_sid}, limit=1)
        if found and found[0].ended_at is not None:
            story = await gather_story(reach.rows, reach.journal, key_ring, organisation_id, found[0].id)
            if story is not None and (story.usage is not None or story.call.answered_at is None):
                return replace(story, spoken=spoken_by_turn(_turns(story), record.said))
        await asyncio.sleep(_POLL_SECONDS)


def _turns(story: CallStory) -> Mapping[int, tuple[int, int]]:
    return {
        entry.turn: (entry.at_ms, entry.ended_ms)
        for entry in (each.entry for each in story.happenings)
        if entry.kind == "caller-turn" and entry.turn is not None and entry.at_ms is not None and entry.ended_ms is not None
    }


def spoken_by_turn(turns: Mapping[int, tuple[int, int]], said: Sequence[Spoken]) -> Mapping[int, str]:
    """What the caller really said in each turn of the record, matched by time alone: by the longest common stretch."""
    matched: dict[int, list[str]] = {}
    for line in said:
        shared = {turn: min(end, line.ended_ms) - max(start, line.started_ms) for turn, (start, end) in turns.items()}
        best = max(shared, key=lambda turn: shared[turn], default=None)
        if best is not None and shared[best] > -_WORD_GAP_MS:
            matched.setdefault(best, []).append(line.text)
    return {turn: " ".join(texts) for turn, texts in matched.items()}
