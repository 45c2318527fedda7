"""gRPC: the same things as the routes show, to the same keys; refusals that programs can read; events on from any place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from grpc_tools import protoc

from api import positions
from api.app import create_app
from api.wire import bound, unbound
from infra.adapters.rpc.certificate import CertificateUnusable, InClear, ServerCertificate, guarded
from infra.adapters.rpc.messages import PACKAGE, SERVICES, message, service
from infra.adapters.rpc.serving import serving_grpc
from infra.apps.health import of_grpc
from tests.api.platform import OPERATOR_KEY, Platform, Tenant, fresh_call_id
from tests.api.test_call_stream import ringing
from tests.authority import Authority

pytestmark = pytest.mark.asyncio(loop_scope="package")
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "grpc"


@pytest_asyncio.fixture(loop_scope="package")
async def channel(running: Platform) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        serving_grpc(create_app(running.ports), "127.0.0.1:0", monotonic) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened,
    ):
        yield opened


def asking(key: str | None, **more: str) -> list[tuple[str, str]]:
    return [*([] if key is None else [("authorization", f"Bearer {key}")]), *more.items()]


async def ask(channel: grpc.aio.Channel, key: str | None, method: str, *, timeout: float = 20, metadata: Any = (), **fields: Any) -> Any:  # noqa: ASYNC109 - the deadline that is sent
    name, _, called = method.partition("/")
    of = service(f"{PACKAGE}.{name}").FindMethodByName(called)
    takes, gives = message(of.input_type.full_name), message(of.output_type.full_name)
    stub = channel.unary_unary(f"/{PACKAGE}.{method}", request_serializer=takes.SerializeToString, response_deserializer=gives.FromString)
    return await stub(takes(**fields), timeout=timeout, metadata=[*asking(key), *metadata])


async def refused(asked: Any) -> tuple[grpc.StatusCode, str, list[Any]]:
    """Code, the code of the problem, and the kinds of details."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asked
    status = rpc_status.from_call(raised.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "aybiza"
    return raised.value.code(), info.reason, [each.type_url.rpartition(".")[2] for each in status.details]


@asynccontextmanager
async def following(channel: grpc.aio.Channel, key: str, **fields: Any) -> AsyncIterator[Any]:
    takes, gives = message(f"{PACKAGE}.FollowRequest"), message(f"{PACKAGE}.Event")
    stub = channel.unary_stream(
        f"/{PACKAGE}.Events/Follow", request_serializer=takes.SerializeToString, response_deserializer=gives.FromString
    )
    call = stub(takes(**fields), metadata=asking(key))
    try:
        async with asyncio.timeout(120):
            yield call
    finally:
        call.cancel()


class TestThings:
    async def test_are_what_the_routes_show(self, running: Platform, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        stream = await ringing(running, tenant)
        rest = (await tenant.api.get(f"/v1/calls/{stream.id}")).json()
        call = await ask(channel, tenant.key, "Calls/GetCall", id=stream.id)
        assert (call.id, call.status, call.caller, call.turns) == (rest["id"], rest["status"], rest["caller"], 0)
        assert call.received_at.ToJsonString()[:19] == rest["received_at"][:19]
        assert not call.HasField("ended_at")
        listed = await ask(channel, tenant.key, "Calls/ListCalls", limit=1)
        assert [each.id for each in listed.data] == [stream.id]
        timeline = await ask(channel, tenant.key, "Calls/ListTimeline", id=stream.id)
        assert [each.kind for each in timeline.data] == ["call-received"]
        written = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        position = written.headers["Aybiza-Position"]
        flags = await ask(channel, tenant.key, "Flags/ListFlags", min_position=[position])
        assert [(each.name, each.variant) for each in flags.data] == [("lamp", "on")]

    async def test_say_of_which_time_they_are(self, tenant: Tenant, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
        position = (await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})).headers["Aybiza-Position"]
        takes, gives = message(f"{PACKAGE}.GetRequest"), message(f"{PACKAGE}.Flag")
        get = channel.unary_unary(
            f"/{PACKAGE}.Flags/GetFlag", request_serializer=takes.SerializeToString, response_deserializer=gives.FromString
        )
        then = get(takes(id="lamp", min_position=[position], as_of=position), metadata=asking(tenant.key))
        assert (await then).variant == "on"
        assert dict(await then.trailing_metadata())["aybiza-position"] == position
        monkeypatch.setattr(positions, "_WAIT_SECONDS", 0.05)
        topic, partition, _, *fence = position.split("/")
        late = get(takes(id="later", min_position=["/".join([topic, partition, "99999999", *fence])]), metadata=asking(tenant.key))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await late
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert "older than min-position" in dict(await late.trailing_metadata())["warning"]

    async def test_go_on_behind_a_page(self, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        last = [await tenant.api.post("/v1/agents", json={"name": f"Agent {at}"}) for at in range(3)][-1]
        page = await ask(channel, tenant.key, "Agents/ListAgents", limit=2, min_position=[last.headers["Aybiza-Position"]])
        rest = await ask(channel, tenant.key, "Agents/ListAgents", cursor=page.next_cursor)
        assert [each.name for each in (*page.data, *rest.data)] == ["Agent 2", "Agent 1", "Agent 0"]
        assert not rest.has_more


class TestRefusals:
    async def test_say_who_may_not_and_why(self, running: Platform, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        nobody = await refused(ask(channel, None, "Flags/ListFlags"))
        assert nobody[:2] == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        operator = await refused(ask(channel, OPERATOR_KEY, "Flags/ListFlags"))
        assert operator[:2] == (grpc.StatusCode.PERMISSION_DENIED, "organisation-needed")
        acting = await ask(channel, OPERATOR_KEY, "Flags/ListFlags", metadata=[("aybiza-organisation", tenant.id)])
        assert list(acting.data) == []
        path = f"/v1/organisations/{tenant.id}/api-keys"
        key = (await tenant.api.post(path, json={"label": "flags", "scopes": ["flags:read"]})).json()["key"]
        await ask(channel, key, "Flags/ListFlags")
        assert (await refused(ask(channel, key, "Calls/ListCalls")))[:2] == (grpc.StatusCode.PERMISSION_DENIED, "scope-missing")
        async with following(channel, key) as call:
            assert (await refused(call.read()))[:2] == (grpc.StatusCode.PERMISSION_DENIED, "scope-missing")

    async def test_have_details_for_programs(self, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        code, reason, details = await refused(ask(channel, tenant.key, "Flags/ListFlags", cursor="x"))
        assert (code, reason, details) == (grpc.StatusCode.INVALID_ARGUMENT, "bad-cursor", ["ErrorInfo", "RequestInfo", "BadRequest"])
        assert (await refused(ask(channel, tenant.key, "Flags/ListFlags", limit=101)))[1] == "invalid-request"
        assert (await refused(ask(channel, tenant.key, "Flags/ListFlags", as_of="2999-01-01T00:00:00Z")))[1] == "bad-as-of"

    @pytest.mark.parametrize("name", ["call_nothing", "", "x/timeline", "../flags", "a?b"])
    async def test_do_not_tell_what_is_there(self, tenant: Tenant, channel: grpc.aio.Channel, name: str) -> None:
        assert (await refused(ask(channel, tenant.key, "Calls/GetCall", id=name)))[:2] == (grpc.StatusCode.NOT_FOUND, "not-found")

    async def test_keep_to_the_deadline(self, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        # A place on the log that is yet to come is waited for, as long as the client does.
        position = f"{(await tenant.api.put('/v1/flags/a', json={'enabled': True, 'variant': 'b'})).headers['Aybiza-Position']}".split("/")
        later = "/".join([*position[:2], str(int(position[2]) + 1_000_000), *position[3:]])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(channel, tenant.key, "Flags/ListFlags", timeout=0.3, min_position=[later])
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


class TestFollow:
    async def test_goes_on_behind_the_event_that_was_dealt_with(self, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        async with following(channel, tenant.key, types=["flag-set"]) as call:
            await call.initial_metadata()
            first = asyncio.ensure_future(call.read())
            at = 0
            while not first.done():
                await tenant.api.put("/v1/flags/again", json={"enabled": True, "variant": f"v{at}"})
                await asyncio.wait([first], timeout=0.05)
                at += 1
            event = first.result()
        assert event.type == "flag-set.v1"
        assert event.data["variant"].startswith("v")
        await tenant.api.put("/v1/flags/two", json={"enabled": True, "variant": "on"})
        async with following(channel, tenant.key, types=["flag-set"], after=event.resume_token) as call:
            while (event := await call.read()).subject != "flags/two":
                assert event.subject == "flags/again"

    async def test_refuses_a_place_that_it_never_gave(self, tenant: Tenant, channel: grpc.aio.Channel) -> None:
        async with following(channel, tenant.key, after="x") as call:
            assert (await refused(call.read()))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "bad-event-id")


class TestAnotherOrganisation:
    async def test_gets_nothing_by_ids_cursors_or_places(
        self, running: Platform, tenant: Tenant, stranger: Tenant, channel: grpc.aio.Channel
    ) -> None:
        stream = await ringing(running, tenant)
        await tenant.api.put("/v1/flags/mine", json={"enabled": True, "variant": "secret"})
        await tenant.api.post("/v1/agents", json={"name": "Mine"})
        last = await tenant.api.post("/v1/agents", json={"name": "Mine too"})
        position = last.headers["Aybiza-Position"]
        cursor = (await ask(channel, tenant.key, "Agents/ListAgents", limit=1, min_position=[position])).next_cursor
        for key, found in ((stranger.key, False), (tenant.key, True)):
            lists = [
                await ask(channel, key, f"{room}/List{room}", cursor=bound(f"/v1/{room.lower()}", unbound("/v1/agents", cursor)))
                for room in ("Agents", "Calls", "Flags", "Numbers")
            ]
            lists += [await ask(channel, key, f"{room}/List{room}") for room in ("Agents", "Calls", "Flags", "Numbers")]
            said = " ".join(map(str, lists))
            assert [mark in said for mark in (stream.id, "secret", "Mine")] == [found] * 3
        for method in ("Calls/GetCall", "Calls/ListTimeline"):
            there, nowhere = [await refused(ask(channel, stranger.key, method, id=name)) for name in (stream.id, fresh_call_id())]
            assert there == nowhere


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class TestEncrypted:
    async def test_is_spoken_to_by_whoever_knows_its_authority_and_by_nobody_in_clear(
        self, running: Platform, tenant: Tenant, authority: Authority
    ) -> None:
        certificate = ServerCertificate(*authority.signed("first"))
        async with serving_grpc(create_app(running.ports), "127.0.0.1:0", monotonic, certificate) as port:
            assert await self._hears(f"127.0.0.1:{port}", authority.pem, tenant.key)
            for stranger in (Authority(authority.folder / "other").pem, None):
                assert not await self._hears(f"127.0.0.1:{port}", stranger, tenant.key)
            # A renewed certificate counts for the next connection: the one before is known to the first authority alone.
            second = Authority(authority.folder / "second")
            renewed = second.signed("first")
            renewed.chain.replace(certificate.chain)
            renewed.key.replace(certificate.key)
            assert await self._hears(f"127.0.0.1:{port}", second.pem, tenant.key)

    async def _hears(self, address: str, authority: bytes | None, key: str) -> bool:
        options = [("grpc.use_local_subchannel_pool", 1)]
        if authority is None:
            opened = grpc.aio.insecure_channel(address, options=options)
        else:
            opened = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority), options=options)
        async with opened:
            try:
                await ask(opened, key, "Flags/ListFlags")
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False
            return True

    async def test_is_asked_for_wherever_strangers_can_listen(self, authority: Authority) -> None:
        for host in ("127.0.0.1", "::1", "localhost"):
            assert guarded(host, None, None, in_clear=False) is None
        for host in ("::", "10.0.0.7", "api"):
            with pytest.raises(InClear, match="AYBIZA_GRPC_CERTIFICATE_FILE"):
                guarded(host, None, None, in_clear=False)
            assert guarded(host, None, None, in_clear=True) is None
        signed = ServerCertificate(*authority.signed("first"))
        assert guarded("10.0.0.7", signed.chain, signed.key, in_clear=False) == signed
        assert signed.credentials() is not None
        with pytest.raises(CertificateUnusable):
            ServerCertificate(signed.chain, authority.folder / "nothing").credentials()
        other = Authority(authority.folder / "other").signed("first")
        with pytest.raises(CertificateUnusable):
            ServerCertificate(signed.chain, other.key).credentials()

    async def test_says_in_health_until_when_its_certificate_counts(self, authority: Authority) -> None:
        signed, late = ServerCertificate(*authority.signed("first")), datetime.now(UTC) + timedelta(days=400)
        looks = (of_grpc(None, lambda: late), of_grpc(signed, lambda: datetime.now(UTC)), of_grpc(signed, lambda: late))
        clear, good, over = [(await look())[0] for look in looks]
        assert [(each.ready, each.needed) for each in (clear, good, over)] == [(True, False), (True, False), (False, False)]
        assert clear.why == "in clear"
        assert f"{signed.expires_at():%Y-%m-%d}" in good.why


class TestAround:
    async def test_says_how_it_is_and_what_it_has(self, channel: grpc.aio.Channel) -> None:
        how = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert how.status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
        listed = {each.name async for answer in answers for each in answer.list_services_response.service}
        assert set(SERVICES) < listed

    async def test_has_descriptors_that_are_those_of_the_file(self, tmp_path: Path) -> None:
        made = tmp_path / "made.binpb"
        known = Path(protoc.__file__).with_name("_proto")
        assert (
            protoc.main(["", f"-I{SCHEMAS}", f"-I{known}", "--include_imports", f"--descriptor_set_out={made}", "aybiza/v1/aybiza.proto"])
            == 0
        )
        assert made.read_bytes() == (SCHEMAS / "aybiza.binpb").read_bytes(), "make them anew: the page of the floor says how"
