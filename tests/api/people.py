"""People for API tests: invited, joined, signed in."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api.platform import Platform, Tenant

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person of a test, with what their joining was answered with."""

    email: str
    session: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.session["person_id"])

    def client(self, running: Platform, **headers: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return running.client(self.session["access_token"], **headers)


async def invited(tenant: Tenant, email: str, role: str) -> dict[str, Any]:
    """The invitation as its maker sees it, with its token."""
    answer = await tenant.api.post("/v1/invitations", json={"email": email, "role": role})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def joined(running: Platform, tenant: Tenant, email: str, role: str, password: str = PASSWORD) -> Member:
    """A person who belongs to the organisation from now on."""
    token = (await invited(tenant, email, role))["token"]
    async with running.client() as anonymous:
        answer = await anonymous.post("/auth/invitations/accept", json={"token": token, "password": password, "name": "Ada Lovelace"})
    assert answer.status_code == 201, answer.text
    return Member(email=email, session=answer.json())
