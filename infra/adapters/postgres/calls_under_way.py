"""The calls that have not ended, of all organisations, as the table of calls knows them."""

from collections.abc import Sequence

from events.streams import StreamId
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.rows import unavailable
from infra.adapters.postgres.shapes import not_done, view_of
from projections.calls import CALLS
from realtime.carrier.ports import UnderWay

_MOST = 10_000
# Asked every few seconds of a table of all calls that ever were: by its index of those that are not done.
_SELECT = f"""
SELECT tenant, id, call_sid, worker, received_at FROM {view_of(CALLS)} WHERE {not_done(CALLS)}
ORDER BY id DESC LIMIT {_MOST}
"""
_SECONDS = 5.0


class PostgresCallsUnderWay:
    """`realtime.carrier.ports.CallsUnderWay`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self) -> Sequence[UnderWay]:
        with unavailable():
            found = await self._pool.fetch(_SELECT, timeout=_SECONDS)
        return [
            UnderWay(
                stream=StreamId(each["tenant"], CALLS.category, each["id"]), call_sid=each["call_sid"], worker=each["worker"],
                received_at=each["received_at"],
            )
            for each in found
        ]  # fmt: skip
