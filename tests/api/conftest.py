"""One platform for all API tests, and organisations of a test's own. Every module runs on the platform's loop (`pytestmark`)."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio

from infra.local.stack import Addresses
from tests.api.platform import OPERATOR_KEY, Platform, Tenant, platform


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def running(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    name = f"api{os.urandom(8).hex()}"
    connection = await asyncpg.connect(stack.postgres)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        dsn = urlsplit(stack.postgres)._replace(path=f"/{name}").geturl()
        async with platform(stack, dsn, tmp_path_factory.mktemp("keys"), name) as started:
            yield started
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest_asyncio.fixture(loop_scope="package")
async def anonymous(running: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="package")
async def operator(running: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client(OPERATOR_KEY) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="package")
async def tenant(running: Platform, operator: httpx.AsyncClient) -> AsyncIterator[Tenant]:
    async with AsyncExitStack() as clean_up:
        yield await _joined(running, operator, clean_up)


@pytest_asyncio.fixture(loop_scope="package")
async def stranger(running: Platform, operator: httpx.AsyncClient) -> AsyncIterator[Tenant]:
    """Another organisation."""
    async with AsyncExitStack() as clean_up:
        yield await _joined(running, operator, clean_up)


async def _joined(running: Platform, operator: httpx.AsyncClient, clean_up: AsyncExitStack) -> Tenant:
    answer = await operator.post("/v1/organisations", json={"name": "ACME"})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    key = body["api_key"]["key"]
    return Tenant(id=body["id"], key=key, api=await clean_up.enter_async_context(running.client(key)))
