"""Read your writes over HTTP: from the answer of a write to that of a read with its position: `make bench NAME=visible`."""

import logging
import statistics
import time

import structlog
import uvloop

from tests.benchmarks.figures import Figure, show
from tests.benchmarks.served import Served, at, must, served, told

WRITES, WARM_UP = 400, 50
_RIVAL = "eventsourcing 9.5 on PostgreSQL, measured elsewhere"


async def one(house: Served, number: int) -> float:
    """Milliseconds from the acknowledgement to the answer that shows it."""
    path = f"/v1/flags/flag-{number % 20}"
    variant = f"v{number}"
    async with house.http.put(path, json={"enabled": True, "variant": variant, "description": ""}) as answer:
        position = (await must(answer)).headers["Aybiza-Position"]
    begun = time.perf_counter()
    async with house.http.get(path, params={"min-position": position}) as answer:
        shown = await (await must(answer)).json()
    if shown["variant"] != variant or "Warning" in answer.headers:
        raise SystemExit(f"the read does not show the write before it: {shown}")
    return (time.perf_counter() - begun) * 1000


async def measure() -> list[Figure]:
    async with served("api", "projections") as house:
        taken = sorted([await one(house, number) for number in range(WARM_UP + WRITES)][WARM_UP:])
        told("read", f"{len(taken)} writes, the longest {taken[-1]:.1f} ms")
    return [
        Figure(
            figure="read_your_writes_p50", value=round(statistics.median(taken), 2), unit="ms", better="lower", target=10,
            reference=_RIVAL, reference_value=104,
        ),
        Figure(
            figure="read_your_writes_p99", value=at(taken, 99), unit="ms", better="lower", target=50, reference=_RIVAL, reference_value=110,
        ),
    ]  # fmt: skip


async def main() -> None:
    show("visible", "HTTP, every projection running in a process of its own", await measure())


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.run(main())
