"""Which worker runs which file of tests: what waits for real time goes one file after the other, beside what only computes.

Without it two spoken calls would fall together and want more of a machine than it has, and elsewhere everybody would wait for a clock.
"""

import os
from collections.abc import Collection

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# The worker whose files wait: telephone calls and take-overs last as long as they last, and use little of a processor.
WAITER = "gw0"
# Longest first, and what suffers most from others beside it before what suffers least.
WAITING = (
    "tests/spoken/test_provider_calls.py",
    "tests/spoken/test_embedded_calls.py",
    "tests/spoken/test_log_away.py",
    "tests/spoken/test_supervised_calls.py",
    "tests/faults/test_dead_worker.py",
    "tests/infra/apps/test_logs.py",
    "tests/faults/test_processes.py",
    "tests/chaos/test_chaos.py",
    "tests/faults/test_two_webhook_senders.py",
    "tests/infra/adapters/test_membership.py",
    "tests/faults/test_log_faults.py",
)
# Of what computes, the files of more than ten seconds begin first, so that none is left when the others have ended.
LONG = (
    "tests/faults/test_runner_crashes.py",
    "tests/infra/apps/test_looking.py",
    "tests/test_readme.py",
    "tests/realtime/test_calls.py",
    "tests/infra/apps/test_ground.py",
    "tests/infra/local/test_stack.py",
    "tests/simulator/test_simulator.py",
    "tests/realtime/test_resuming_calls.py",
    "tests/realtime/test_sealed_digits.py",
    "tests/commands/test_every_decider.py",
    "tests/infra/apps/test_run.py",
    "tests/api/test_isolation.py",
    "tests/projections/test_healing.py",
)
_PLACES = {file: place for place, file in enumerate((*WAITING, *LONG))}


class Lanes(LoadFileScheduling):  # type: ignore[misc]  # it ships no types
    """Files go whole to one worker, as with `--dist loadfile`: the next of its lane, or of the other when its own is empty."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(next_file(self.workqueue, waits=node.gateway.id == WAITER), last=False)
        super()._assign_work_unit(node)


def next_file(left: Collection[str], *, waits: bool) -> str:
    """What a worker runs next of the files that are left, which stand in the order in which nothing else is known of them."""
    return min(left, key=lambda file: ((file in WAITING) != waits, _PLACES.get(file, len(_PLACES))))


def give_way() -> None:
    """A worker that computes leaves the processors to the one whose calls are spoken in real time; so does all that it starts."""
    if os.environ.get("PYTEST_XDIST_WORKER", WAITER) != WAITER:
        os.nice(5)
