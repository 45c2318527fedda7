"""A process that joins a group, says so, and stays until it is killed: `group_member BOOTSTRAP GROUP TOPIC SESSION_SECONDS`."""

import asyncio
import sys
from contextlib import aclosing

from infra.adapters.kafka.membership import GroupAssignments


async def main(bootstrap: str, group: str, topic: str, session_seconds: str) -> None:
    async with aclosing(GroupAssignments(bootstrap, group, [topic], session_seconds=float(session_seconds)).changes()) as changes:
        async for assignment in changes:
            sys.stdout.write(" ".join(str(place.partition) for place in sorted(assignment.places)) + "\n")
            sys.stdout.flush()


asyncio.run(main(*sys.argv[1:]))
