"""A process of the platform that says what it holds whenever SIGUSR1 asks, as a line of JSON; otherwise it is what runs elsewhere.

What waits for the collector of garbage is counted with the rest: nothing is collected for the sake of a count. SIGUSR2 has it collected
first, and says how much that was.
"""

import asyncio
import gc
import json
import signal
import sys
from typing import Any

from infra.apps.cli import main
from realtime.loop.conductor import Conductor
from realtime.worker import CallWorker


def tell(signum: int, _frame: object) -> None:
    """Between two callbacks of the loop: what is counted stands still."""
    collected = gc.collect() if signum == signal.SIGUSR2 else 0
    objects = gc.get_objects()
    workers = [each for each in objects if type(each) is CallWorker]
    held: dict[str, Any] = {
        "tasks": len(asyncio.all_tasks()), "objects": len(objects), "blocks": sys.getallocatedblocks(), "collected": collected,
        "calls": sum(each.counters["calls"] for each in workers), "live": sum(each.live_calls for each in workers),
        "in_memory": sum(type(each) is Conductor for each in objects),
    }  # fmt: skip
    del objects
    sys.stdout.write(json.dumps(held) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    signal.signal(signal.SIGUSR2, tell)
    main()
