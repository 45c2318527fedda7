"""Opens the demo business through the public API, as any customer would: organisation, agent, version, number, flag."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

NUMBER = "+12025550143"
CALLER = "+12025550178"
_CONFIGURATION = Path(__file__).with_name("business.json")
_SECONDS = 60
# A start on a machine that is busy with others may leave the first steps unanswered for a while.
_TRIES = 12


class OpeningFailed(Exception):
    """The API refused a step; the text is its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Business:
    """The demo business as it stands; `positions` are where the log has the steps."""

    organisation_id: str
    agent_id: str
    number: str
    positions: tuple[str, ...]


def configuration() -> Mapping[str, Any]:
    """The agent's configuration, as committed."""
    document: Mapping[str, Any] = json.loads(_CONFIGURATION.read_text("utf-8"))
    return document


async def open_business(url: str, operator_key: str) -> Business:
    """Every step has an idempotency key: done before, it changes nothing. Raises OpeningFailed."""
    document = dict(configuration())
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {operator_key}"}, timeout=timeout) as http:
        steps = _Steps(http)
        organisation = await steps.take("POST", "/v1/organisations", {"name": "Harbour Dental", "region": "us-east-1"})
        http.headers["Aybiza-Organisation"] = organisation["id"]
        agent = await steps.take("POST", "/v1/agents", {"name": document["name"]})
        await steps.take("POST", f"/v1/agents/{agent['id']}/versions", document)
        await steps.take("POST", "/v1/numbers", {"number": NUMBER, "agent_id": agent["id"]})
        flag = {"enabled": True, "variant": "on", "description": "Greet in one short sentence."}
        await steps.take("PUT", "/v1/flags/short-greeting", flag)
    return Business(organisation_id=organisation["id"], agent_id=agent["id"], number=NUMBER, positions=tuple(steps.positions))


class _Steps:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.positions: list[str] = []

    async def take(self, method: str, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        # A step that was taken with this very body before is a repeat; with another body it is a new step.
        key = hashlib.sha256(f"{method} {path} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()[:32]
        for left in reversed(range(_TRIES)):
            async with self._http.request(method, path, json=body, headers={"Idempotency-Key": f"demo-{key}"}) as answer:
                document: Mapping[str, Any] = await answer.json(content_type=None)
                if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and left:
                    await asyncio.sleep(float(answer.headers.get("Retry-After") or 1))
                    continue
                if answer.status >= 300:
                    raise OpeningFailed(f"{method} {path}: {document.get('detail') or document}")
                if position := answer.headers.get("Aybiza-Position"):
                    self.positions.append(position)
                return document
        raise AssertionError("the last try ends by an answer")
