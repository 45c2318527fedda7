"""`aybiza doctor --live` over emulated accounts: what is well is said so, and each thing that is wrong is named with what to do."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.apps.live_checks import examine_live
from infra.emulators.bedrock.server import BedrockEmulator, Rejected
from infra.emulators.deepgram.server import deepgram_emulator
from infra.emulators.polly import PollyEmulator
from infra.emulators.twilio_rest import TwilioRestEmulator
from infra.local.checks import Finding
from infra.settings import Settings
from realtime.ports import ModelStopped, TextDelta, TokenUsage
from tests.benchmarks.voice.authority import make_authority
from tests.realtime.world import Mind

ACCOUNT, TOKEN, KEY = "AC" + "5" * 32, "a-token", "a-key"


@asynccontextmanager
async def platform(folder: Path, *, refuses: bool = True) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """The public address over TLS; a webhook that refuses what is not signed, or does not."""
    make_authority(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "provider.pem", folder / "provider.key")

    async def voice(_: web.Request) -> web.Response:
        return web.Response(status=403, text="the signature is wrong or missing") if refuses else web.Response(text="<Response/>")

    app = web.Application()
    app.router.add_post("/twilio/voice", voice)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}", ssl.create_default_context(cafile=str(folder / "authority.pem"))
    finally:
        await runner.cleanup()


def number(base: str, **changes: str) -> dict[str, str]:
    return {
        "sid": "PN" + "1" * 32, "phone_number": "+15550100", "voice_url": f"{base}/twilio/voice", "voice_method": "POST",
        "status_callback": f"{base}/twilio/status", **changes,
    }  # fmt: skip


async def examined(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, meddle: Callable[[TwilioRestEmulator, str], None] = lambda _rest, _base: None,
    refuses: bool = True, trusts: bool = True, broken: tuple[Rejected, ...] = (), speaks_as: str = "s",
    **changes: Any,
) -> dict[str, Finding]:  # fmt: skip
    """What the doctor finds, by what it is about."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    rest = TwilioRestEmulator(ACCOUNT, TOKEN, lambda _: None)
    mind = Mind(lambda _: [TextDelta(text="Yes."), ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=1, output_tokens=1))])
    bedrock = BedrockEmulator(mind, faults=broken)
    async with AsyncExitStack() as stack:
        base, trust = await stack.enter_async_context(platform(folder, refuses=refuses))
        recogniser = Recogniser(cache=folder / "cache")
        stack.push_async_callback(recogniser.close)
        rest.numbers = [number(base)]
        meddle(rest, base)
        settings = Settings(
            state_dir=folder, public_url=base, twilio_account_sid=ACCOUNT, deepgram_api_key=SecretStr(KEY),
            twilio_auth_token=SecretStr(changes.pop("token", TOKEN)), twilio_api_base_url=await stack.enter_async_context(rest.serving()),
            deepgram_base_url=await stack.enter_async_context(deepgram_emulator(recogniser=recogniser, api_key=changes.pop("opens", KEY))),
            bedrock_endpoint_url=await stack.enter_async_context(bedrock.serving()),
            second_voice="none",
            polly_endpoint_url=await stack.enter_async_context(PollyEmulator(access_key="k", secret_key=speaks_as).serving()),
        )  # fmt: skip
        found = await examine_live(settings.model_copy(update=changes), trust if trusts else None)
    return {finding.about: finding for finding in found}


class TestDoctorLive:
    async def test_finds_everything_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = await examined(tmp_path, monkeypatch, second_voice="polly")
        # The certificate of a test lasts a day or two: of that, too, one is told in time.
        assert {about: finding.state for about, finding in found.items() if finding.state != "well"} == {"certificate": "doubtful"}
        assert found["certificate"].words.startswith("it ends in")
        assert {"twilio", "twilio number …0100", "certificate", "webhook", "deepgram", "polly"} < set(found)
        assert any(about.startswith("bedrock") for about in found)
        assert TOKEN not in repr(found)

    async def test_names_keys_that_open_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = await examined(tmp_path, monkeypatch, token="another", opens="another")
        assert (found["twilio"].state, found["deepgram"].state) == ("wrong", "wrong")
        assert "20003" in found["twilio"].words
        assert "DEEPGRAM_API_KEY" in (found["deepgram"].remedy or "")

    async def test_names_keys_that_are_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = await examined(tmp_path, monkeypatch, deepgram_api_key=None, twilio_auth_token=None)
        assert (found["twilio"].words, found["deepgram"].words) == ("no key is set", "no key is set")
        assert "polly" not in found, "nobody wants it to speak"

    async def test_names_an_account_that_is_suspended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = await examined(tmp_path, monkeypatch, meddle=lambda rest, _: setattr(rest, "account", "suspended"))
        assert (found["twilio"].state, found["twilio"].words) == ("wrong", "the account is suspended")

    async def test_names_numbers_that_ring_elsewhere_or_do_not_tell(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def elsewhere(rest: TwilioRestEmulator, base: str) -> None:
            rest.numbers = [number(base, voice_url="https://demo.twilio.com/welcome"), number(base, voice_method="GET")]

        found = await examined(tmp_path, monkeypatch, meddle=elsewhere)
        assert found["twilio numbers"].state == "wrong"
        silent = await examined(
            tmp_path, monkeypatch, meddle=lambda rest, base: rest.numbers.__setitem__(0, number(base, status_callback=""))
        )
        assert (silent["twilio number …0100"].state, "twilio numbers" in silent) == ("doubtful", False)

    async def test_names_a_certificate_that_the_carrier_will_not_trust(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = await examined(tmp_path, monkeypatch, trusts=False)
        assert found["certificate"].state == "wrong"
        assert "webhook" not in found

    async def test_names_a_webhook_that_takes_anything(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (await examined(tmp_path, monkeypatch, refuses=False))["webhook"].state == "wrong"

    async def test_names_an_address_that_is_no_address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (await examined(tmp_path, monkeypatch, public_url="http://example.org"))["public address"].state == "wrong"
        assert (await examined(tmp_path, monkeypatch, public_url=None))["public address"].state == "wrong"

    async def test_names_a_second_voice_that_does_not_speak(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = await examined(tmp_path, monkeypatch, second_voice="polly", speaks_as="another")
        assert (found["polly"].state, "InvalidSignatureException" in found["polly"].words) == ("wrong", True)

    async def test_names_models_that_the_account_may_not_use(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        refused = (Rejected(status=403, code="AccessDeniedException"),) * 9
        found = await examined(tmp_path, monkeypatch, broken=refused)
        models = [finding for about, finding in found.items() if about.startswith("bedrock")]
        assert models
        assert all(finding.state == "wrong" and "AccessDenied" in finding.words for finding in models)
