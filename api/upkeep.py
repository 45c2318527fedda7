"""Routes of the platform's operator: orders to the projections, each of which is on the log before anything is done."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.auth import Operator
from api.wire import Accepted, Line, Wire
from api.writing import Write
from commands.upkeep import UPKEEP, OrderBuild, OrderDiscard, OrderRedrive, UpkeepCommand
from events.streams import PLATFORM, StreamId
from events.upkeep import BuildAct

router = APIRouter(prefix="/upkeep", tags=["upkeep"])
Projection = Annotated[str, Field(pattern=r"^[a-z_]{1,60}\.v[0-9]{1,6}$", description="A version of a projection, such as `calls.v1`.")]
Stream = Annotated[str, Field(min_length=1, max_length=300, description="As `aybiza parked list` shows it.")]


class Redrive(Wire):
    projection: Projection
    stream: Stream
    because: Line


class Discard(Redrive):
    """The fact that is to be left out."""

    topic: Line
    partition: Annotated[int, Field(ge=0, lt=2**31)]
    offset: Annotated[int, Field(ge=0, lt=2**62)]


@router.post("/redrives", status_code=202)
async def order_redrive(body: Redrive, _: Operator, write: Write) -> Accepted:
    """Fold again, in its order, what is parked of a stream."""
    order = write.intent.command_id("").hex()
    return await _ordered(write, OrderRedrive(order=order, projection=body.projection, stream=body.stream, because=body.because))


@router.post("/discards", status_code=202)
async def order_discard(body: Discard, _: Operator, write: Write) -> Accepted:
    """Leave a parked fact out of one projection for ever, and fold again what is parked behind it. The fact stays on the log."""
    command = OrderDiscard(
        projection=body.projection, stream=body.stream, topic=body.topic, partition=body.partition, offset=body.offset, because=body.because
    )  # fmt: skip
    return await _ordered(write, command)


class BuildOrder(Wire):
    projection: Annotated[str, Field(pattern=r"^[a-z_]{1,60}$", description="Such as `calls`.")]
    build: Annotated[str, Field(pattern=r"^[a-z_]{1,60}\.v[0-9]{1,6}(\.b[0-9]{1,6})?$", description="Such as `calls.v1.b2`.")]
    act: BuildAct
    because: Line


@router.post("/builds", status_code=202)
async def order_build(body: BuildOrder, _: Operator, write: Write) -> Accepted:
    """Note who has something done with a build of a projection, and why; `aybiza rebuild` and `aybiza projections` do it."""
    order = write.intent.command_id("").hex()
    command = OrderBuild(order=order, projection=body.projection, build=body.build, act=body.act, because=body.because)
    return await _ordered(write, command)


async def _ordered(write: Write, command: UpkeepCommand) -> Accepted:
    stream = StreamId(PLATFORM, UPKEEP.category, command.projection)
    committed = await write(UPKEEP, stream, command)
    return Accepted(position=str(committed.position))
