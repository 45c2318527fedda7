"""All callers of the bench in a process of their own: rings each, moves all on one clock, says when it measures and what it saw.

Reads its task as a line of JSON; says `measuring`, `measured`, and the record, a line each.
"""

import asyncio
import itertools
import json
import random
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import aiohttp
import msgspec
import uvloop
from picows import WSError, ws_connect
from twilio.request_validator import RequestValidator

from infra.emulators.twilio.twiml import Stream, read_twiml
from tests.benchmarks.voice.caller import CYCLE_SECONDS, Caller, Voiced
from tests.benchmarks.voice.processes import first_in_line
from tests.benchmarks.voice.providers import dictionaries
from tests.benchmarks.voice.scores import REFUSED

_SLOTS: Final = 10
_SLOT_SECONDS: Final = 0.002
_REFUSED_SECONDS: Final = 2.0
_SHORTEST_SECONDS: Final = 2.0
# A machine that is busy with other things may take too long to answer: that is no call.
_NO_CALL: Final = (OSError, TimeoutError, WSError, aiohttp.ClientError)
# Greeting, consent and the first answer.
_WARM_SECONDS: Final = 32.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`webhook`: where to ring; or `socket`, for a server that takes media sockets without a ring and does not greet.

    `churn`: calls come and go all the time, hung up by hand at any moment before they are so many seconds old; 0: they stay.
    """

    calls: int
    seconds: float
    ramp_seconds: float
    webhook: str = ""
    socket: str = ""
    account_sid: str = ""
    auth_token: str = ""
    number: str = ""
    churn: float = 0.0


class RingRefused(Exception):
    """The webhook wants the caller to ring again elsewhere, or not at all."""


async def ring(task: Task, http: aiohttp.ClientSession, call_sid: str, caller: str) -> Stream:
    """Ask the webhook what to do, as the carrier does. Raises RingRefused unless that is a stream."""
    form = {
        "CallSid": call_sid, "AccountSid": task.account_sid, "From": caller, "To": task.number, "CallStatus": "ringing",
        "ApiVersion": "2010-04-01", "Direction": "inbound",
    }  # fmt: skip
    signature = RequestValidator(task.auth_token).compute_signature(task.webhook, form)
    async with http.post(task.webhook, data=form, headers={"X-Twilio-Signature": signature}) as answer:
        verbs = read_twiml(await answer.text(), task.webhook)
    for verb in verbs:
        if isinstance(verb, Stream):
            return verb
    raise RingRefused(f"the ring was answered with {verbs}")


async def begin(task: Task, caller: Caller, http: aiohttp.ClientSession) -> None:
    """One caller's stream, open and started."""
    parameters: dict[str, str] = {}
    url, headers = task.socket, {}
    if task.webhook:
        # Who was never heard of has agreed to nothing yet.
        stream = await ring(
            task, http, caller.measured.call_sid, f"+1{secrets.choice('2345678')}02{2_000_000 + secrets.randbelow(7_000_000)}"
        )
        url, parameters = stream.url, stream.parameters
        headers = {"X-Twilio-Signature": RequestValidator(task.auth_token).compute_signature(url, {})}
    await ws_connect(lambda: caller, url, extra_headers=headers, use_aiofastnet=False)
    caller.begin(parameters)


class Clock:
    """Ticks every caller every 20 ms, in ten slots so that they do not all speak at once. `late`: seconds, of each slot."""

    def __init__(self) -> None:
        self.slots: list[list[Caller]] = [[] for _ in range(_SLOTS)]
        self.late: list[float] = []

    async def run(self) -> None:
        began, turn = time.monotonic(), 0
        while True:
            due = began + turn * _SLOT_SECONDS
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
                now = time.monotonic()
            slot = self.slots[turn % _SLOTS]
            if slot:
                self.late.append(max(0.0, now - due))
            for caller in slot:
                caller.tick(now)
            turn += 1


async def run(task: Task) -> dict[str, Any]:
    """Every call, to its end."""
    callers_voice, agents_voice = dictionaries()
    voiced, clock = Voiced(callers_voice, agents_voice), Clock()
    callers = [Caller(number, "CA" + secrets.token_hex(16), voiced, greeted=bool(task.webhook)) for number in range(task.calls)]
    # A caller that breaks breaks the bench.
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(clock.run(), name="clock")
        for number, caller in enumerate(callers):
            try:
                await begin(task, caller, http)
            except RingRefused:
                caller.measured.ended = REFUSED
            else:
                clock.slots[number % _SLOTS].append(caller)
            await asyncio.sleep(task.ramp_seconds / task.calls)
        await asyncio.sleep(_WARM_SECONDS if task.webhook else CYCLE_SECONDS)
        late = len(clock.late)
        _measure(callers, measuring=True)
        _say({"measuring": True})
        await asyncio.sleep(task.seconds)
        _measure(callers, measuring=False)
        _say({"measured": True, "open": sum(caller.open for caller in callers)})
        late_until = len(clock.late)
        for caller in callers:
            caller.finish()
        while any(caller.open for caller in callers):
            await asyncio.sleep(0.1)
        ticking.cancel()
    lateness = sorted(clock.late[late:late_until])
    return {"late_p99": lateness[int(len(lateness) * 0.99)], "callers": [asdict(caller.measured) for caller in callers]}


async def churned(task: Task) -> dict[str, Any]:
    """As many calls at once as asked for, each hung up by hand and followed by another, for as long as asked for.

    Most are short, for what is left of a call shows sooner the more of them there are; one in twenty comes to its answers.
    """
    voiced, clock, draws = Voiced(*dictionaries()), Clock(), random.Random(1)
    until, made = time.monotonic() + task.seconds, itertools.count()
    refused: list[Caller] = []

    async def one_after_the_other(slot: list[Caller], http: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            caller = Caller(next(made) % 1000, "CA" + secrets.token_hex(16), voiced, greeted=True)
            try:
                await begin(task, caller, http)
            except (RingRefused, *_NO_CALL):
                refused.append(caller)
                await asyncio.sleep(_REFUSED_SECONDS)
                continue
            slot.append(caller)
            await asyncio.sleep(_SHORTEST_SECONDS + (task.churn - _SHORTEST_SECONDS) * draws.random() ** 4)
            caller.hang_up()
            slot.remove(caller)

    # A connection that is kept may be closed by the other side just as the next ring goes out over it.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(clock.run(), name="clock")
        async with asyncio.TaskGroup() as calling:
            for number in range(task.calls):
                calling.create_task(one_after_the_other(clock.slots[number % _SLOTS], http), name=f"line {number}")
        ticking.cancel()
    return {"calls": next(made) - len(refused), "refused": len(refused)}


def _measure(callers: Sequence[Caller], *, measuring: bool) -> None:
    for caller in callers:
        caller.measuring = measuring


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    first_in_line()
    wanted = msgspec.json.decode(sys.stdin.readline(), type=Task)
    _say(uvloop.run(churned(wanted) if wanted.churn else run(wanted)))
