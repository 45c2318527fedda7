"""`aybiza run realtime`: a voice worker. It answers the carrier, holds its calls, and owns the partitions that new ones fall on."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Response

from api.front import Checked, Health
from infra.apps.allocating import allocate_for_calls
from infra.apps.engines import KeyMissing
from infra.apps.footing import ANY_PROCESS, opened_footing
from infra.apps.health import HealthOf, of_calls, of_directory, of_log
from infra.apps.installation import Installation
from infra.apps.listening import listen
from infra.apps.owning import running_owners
from infra.apps.read_side import caught_up, running_directory
from infra.apps.voice import running_voice
from infra.apps.web import serving
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from infra.settings import Settings
from realtime.ports import EngineUnavailable

FAILURES: tuple[type[Exception], ...] = (*ANY_PROCESS, KeyMissing, EngineUnavailable)


@asynccontextmanager
async def running(settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with AsyncExitStack() as stack:
        allocate_for_calls()
        footing = await stack.enter_async_context(opened_footing("realtime", settings, services, installation))
        owning = await stack.enter_async_context(running_owners(footing))
        owners = owning.owners
        directory = await stack.enter_async_context(running_directory(footing.reader))
        listening = listen(settings.http_host, settings.http_port, setting="AYBIZA_HTTP_PORT")
        stack.callback(listening.close)
        url = f"http://{settings.http_host}:{listening.getsockname()[1]}"
        voice = await stack.enter_async_context(running_voice(footing, owners, directory, url))
        health = HealthOf([of_log(owning, footing.reader), of_directory(directory), of_calls(voice.worker)])
        app = FastAPI(title="AYBIZA voice", openapi_url=None)
        app.include_router(voice.worker.router)

        @app.get("/health")
        async def how(response: Response) -> Health:
            checks = [Checked(name=each.name, ready=each.ready, needed=each.needed, why=each.why) for each in await health()]
            ready = all(check.ready for check in checks if check.needed)
            response.status_code = 200 if ready else 503
            return Health(live=True, ready=ready, checks=checks)

        await caught_up(directory)
        await stack.enter_async_context(serving(app, listening))
        # Calls end before the web server stops: the carrier asks it what follows.
        stack.push_async_callback(voice.worker.stop)
        stack.enter_context(remembered(settings.state_dir, "realtime", voice=url, peer=owning.address))
        yield f"{url}   webhooks of the voice worker, how it is at /health"
