"""What one process answers, asked 500 times a second for rows by id and in pages: `make bench NAME=query`."""

import logging
import random
from contextlib import closing

import structlog
import uvloop

from tests.benchmarks.figures import Figure, show
from tests.benchmarks.lines import Lines
from tests.benchmarks.served import Served, at, at_rate, must, served, told

RATE, SECONDS, WARM_UP_SECONDS = 500.0, 15.0, 4.0
AGENTS = 200


async def filled(house: Served) -> list[str]:
    """Ids of agents that can be seen."""
    ids, position = [], ""
    for number in range(AGENTS):
        async with house.http.post("/v1/agents", json={"name": f"agent {number}"}) as answer:
            ids.append((await (await must(answer)).json())["id"])
            position = answer.headers["Aybiza-Position"]
    async with house.http.get(f"/v1/agents/{ids[-1]}", params={"min-position": position}) as answer:
        await must(answer)
    return ids


async def asked(house: Served, ids: list[str], rate: float, seconds: float) -> list[float]:
    draw = random.Random(3)
    # Nine of ten by id, one a page of twenty.
    paths = [f"/v1/agents/{draw.choice(ids)}" if draw.random() < 0.9 else "/v1/agents?limit=20" for _ in range(1000)]

    key = house.http.headers["Authorization"].removeprefix("Bearer ")
    with closing(Lines(house.url)) as lines:

        async def ask(number: int) -> None:
            await lines.ask("GET", paths[number % len(paths)], key)

        return await at_rate(rate, seconds, ask)


async def measure() -> list[Figure]:
    async with served("api", "projections") as house:
        ids = await filled(house)
        await asked(house, ids, RATE / 2, WARM_UP_SECONDS)
        cpu = house.cpu_seconds()
        taken = await asked(house, ids, RATE, SECONDS)
        each = (house.cpu_seconds() - cpu) / len(taken) * 1e6
        told("asked", f"{len(taken)} requests, the longest {taken[-1]:.1f} ms")
    return [
        Figure(figure="query_p50_at_500_per_second", value=at(taken, 50), unit="ms", better="lower"),
        Figure(figure="query_p99_at_500_per_second", value=at(taken, 99), unit="ms", better="lower", target=20),
        Figure(figure="cpu_per_query", value=round(each), unit="us", better="lower", reference="one core at 500/s", reference_value=2000),
    ]


async def main() -> None:
    show("query", "HTTP, one API process with its own key check, quota and second wall", await measure())


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.run(main())
