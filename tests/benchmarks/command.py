"""From an HTTP request to the confirmed answer of a command, at 200 requests a second: `make bench NAME=command`."""

import json
import logging
from contextlib import closing

import structlog
import uvloop

from tests.benchmarks.figures import Figure, show
from tests.benchmarks.lines import Lines
from tests.benchmarks.served import Served, at, at_rate, must, served, told

RATE, SECONDS = 200.0, 15.0
# A broker that has just started compiles its code for most of a minute, and wants up to a processor for it.
WARM_UP_RATE, WARM_UP_SECONDS = 300.0, 45.0
_FLAGS = 300
_RIVAL = "eventsourcing in process, without HTTP, measured elsewhere"


async def commanded(house: Served, keys: list[str], rate: float, seconds: float, first: int = 0) -> list[float]:
    """Each request changes a flag of its own, from number `first` on. The keys take turns, for a key's quota is 50 changes a second."""
    with closing(Lines(house.url)) as lines:

        async def ask(asked: int) -> None:
            number = first + asked
            # Every round through the flags changes each of them again.
            enabled = json.dumps((number + number // _FLAGS) % 2 == 0)
            body = f'{{"enabled":{enabled},"variant":"on","description":""}}'
            await lines.ask("PUT", f"/v1/flags/flag-{number % _FLAGS}", keys[number % len(keys)], body)

        return await at_rate(rate, seconds, ask)


async def keys_of(house: Served, count: int) -> list[str]:
    """So many keys of the organisation."""
    keys = []
    for number in range(count):
        async with house.http.post(f"/v1/organisations/{house.organisation_id}/api-keys", json={"label": f"bench {number}"}) as answer:
            keys.append((await (await must(answer)).json())["key"])
    return keys


async def measure() -> list[Figure]:
    async with served("api", "projections") as house:
        keys = await keys_of(house, 12)
        asked = len(await commanded(house, keys, WARM_UP_RATE, WARM_UP_SECONDS))
        cpu = house.cpu_seconds()
        taken = await commanded(house, keys, RATE, SECONDS, first=asked)
        each = (house.cpu_seconds() - cpu) / len(taken) * 1e6
        told("asked", f"{len(taken)} requests, the longest {taken[-1]:.1f} ms")
    return [
        Figure(
            figure="command_over_http_p50_at_200_per_second", value=at(taken, 50), unit="ms", better="lower", target=3,
            reference=_RIVAL, reference_value=1.7,
        ),
        Figure(
            figure="command_over_http_p99_at_200_per_second", value=at(taken, 99), unit="ms", better="lower", target=10,
            reference=_RIVAL, reference_value=5,
        ),
        Figure(figure="cpu_per_command_of_the_api_process", value=round(each), unit="us", better="lower"),
    ]  # fmt: skip


async def main() -> None:
    show("command", "HTTP request to confirmed answer, acks=all, one API process that owns the partitions", await measure())


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.run(main())
