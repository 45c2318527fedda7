"""What a caller hears of a worker that is killed: from the break of the line to the agent's voice, on a spoken call.

`make bench NAME=resume`. Each round kills another worker in the middle of a reply; the emulated carrier takes 500 ms of the time.
"""

import sys
import tempfile
from pathlib import Path

import structlog
import uvloop

from infra.settings import load_settings
from tests.benchmarks.figures import Figure, show
from tests.faults.test_dead_worker import call_and_kill
from tests.faults.two_workers import opened

_ROUNDS = 3
_TARGET_MS = 2000


async def main() -> None:
    times: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings().model_copy(update={"state_dir": Path(folder) / "state"})
        async with opened(settings) as house:
            for number in range(_ROUNDS):
                told = await call_and_kill(house, await house.pair(), Path(folder) / f"ear-{number}")
                if told.again_ms is None:
                    sys.stderr.write("a caller heard nobody again\n")
                else:
                    times.append(told.again_ms)
    lost = _ROUNDS - len(times)
    median, worst = (sorted(times)[len(times) // 2], max(times)) if times else (None, None)
    show(
        "resume",
        "kill -9 of a voice worker in the middle of a reply; two workers, embedded engines, real Kafka",
        [
            Figure(figure="voice_again_median", value=median, unit="ms", better="lower", target=_TARGET_MS),
            Figure(figure="voice_again_worst", value=worst, unit="ms", better="lower", target=_TARGET_MS),
            Figure(figure="calls_lost", value=lost, unit="calls", better="lower", target=0),
        ],
        rounds=_ROUNDS,
    )


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run(main())
