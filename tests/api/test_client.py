"""A client that a generator makes of the OpenAPI document works as it is made."""

import asyncio
import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.versions import FIRST
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
PACKAGE = "aybiza_client"
CONFIGURATION = {"name": "Ann", "version": "1", "system_prompt": "You are Ann.", "greeting": "Hello."}


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def generated(running: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the client's package is; nothing was changed in it."""
    folder = tmp_path_factory.mktemp("client")
    async with httpx.AsyncClient(base_url=running.url) as anonymous:
        (folder / "openapi.json").write_bytes((await anonymous.get("/openapi.json")).content)
    # Formatting what nobody reads takes longer than making it.
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))
    program = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("openapi-python-client"), "generate", "--path", "openapi.json", "--config", "config.json",
        "--meta", "none", "--output-path", PACKAGE, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    # A recording is no JSON; beside it there is nothing of which the generator could make nothing.
    assert b"will not be generated" not in said, said.decode()
    assert b"Unable to parse" not in said, said.decode()
    return folder


@pytest.fixture
def client(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(generated))
    yield importlib.import_module(PACKAGE)
    for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def operation(tag: str, name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.api.{tag}.{name}")


class TestGeneratedClient:
    async def test_has_every_operation(self, running: Platform, generated: Path) -> None:
        document = json.loads((generated / "openapi.json").read_text())
        names = {each["operationId"] for path in document["paths"].values() for each in path.values()}
        made = {path.stem for path in (generated / PACKAGE / "api").rglob("*.py")}
        assert names <= made

    async def test_writes_reads_and_is_refused(self, running: Platform, tenant: Tenant, client: ModuleType) -> None:
        models = importlib.import_module(f"{PACKAGE}.models")
        async with client.AuthenticatedClient(base_url=running.url, token=tenant.key) as api:
            agent = await operation("agents", "create_agent").asyncio(client=api, body=models.NewAgent(name="Ann"))
            assert agent.name == "Ann"
            configured = models.AgentConfiguration.from_dict(CONFIGURATION)
            version = await operation("agents", "publish_agent_version").asyncio(agent.id, client=api, body=configured)
            assert (version.label, version.configuration["greeting"]) == ("1", "Hello.")
            body = models.FlagValue(enabled=True, variant="on")
            flag = await operation("flags", "set_flag").asyncio_detailed("lamp", client=api, body=body, idempotency_key="once")
            assert (flag.status_code, flag.parsed.variant) == (200, "on")
            dimmed = models.FlagChanges(variant="dim")
            flag = await operation("flags", "change_flag").asyncio_detailed("lamp", client=api, body=dimmed)
            assert flag.status_code == 200
            number = await operation("numbers", "assign_number").asyncio(
                client=api, body=models.NewNumber(number=f"+1404555{random.randint(1000, 9999)}", agent_id=agent.id)
            )
            assert number.environment is None
            same = models.NumberChanges(environment=None)
            changed = await operation("numbers", "change_number").asyncio(number.number, client=api, body=same)
            then = models.DateVersion.VALUE_0
            found = await operation("numbers", "get_number").asyncio(
                number.number, client=api, min_position=[changed.position], aybiza_version=then
            )
            assert (str(then), found.environment) == (FIRST, "")
            position = flag.headers["Aybiza-Position"]
            listed = await operation("flags", "list_flags").asyncio(client=api, min_position=[position], limit=1)
            assert [each.name for each in listed.data] == ["lamp"]
            # What was left out of the change is as it was; a default that the client filled in would have switched the lamp off.
            assert (listed.data[0].enabled, listed.data[0].variant, listed.data[0].set_at.tzinfo is None) == (True, "dim", False)
            found = await operation("agents", "get_agent").asyncio(agent.id, client=api)
            assert found.to_dict()["id"] == agent.id
            calls = await operation("calls", "list_calls").asyncio(client=api)
            assert (calls.data, calls.has_more) == ([], False)
            webhook = await operation("webhooks", "add_webhook").asyncio(client=api, body=models.NewWebhook(url="https://example.com/"))
            assert webhook.secret.startswith("whsec_")
            refused = await operation("calls", "get_call").asyncio("call_nothing", client=api)
            assert (refused.code, refused.status, refused.retryable) == ("not-found", 404, False)
        async with client.AuthenticatedClient(base_url=running.url, token="nothing") as nobody:
            assert (await operation("flags", "list_flags").asyncio(client=nobody)).code == "unauthenticated"
