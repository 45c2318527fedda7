"""Routes of what can be charted: answers with their stages, calls and usage, by minute, hour and day."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from api.auth import Organisation
from api.positions import Read, Reading
from api.problems import INVALID_REQUEST, At, Problem, answers
from api.wire import Money, Time, Wire, Wired, money
from projections import measures
from projections.measures import BANDS_MS
from projections.series import Series

router = APIRouter(prefix="/analytics", tags=["analytics"])
Per = Annotated[Literal["minute", "hour", "day"], Query(description="How long each count is; days begin at midnight UTC.")]
From = Annotated[Time, Query(alias="from", description="The first count is the one that begins at this time or next after it.")]
To = Annotated[Time, Query(description="The last count begins before this time.")]
_LENGTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_MOST_BUCKETS = 1_500
# Counts behind one answer: of each of its times, one for each model and band, meter and provider, or reason.
_MOST_COUNTS = 100_000


class AnswersCounted(Wire):
    """Answers of agents in one stretch of time. `response_ms` is from the caller's last speech to our first frame.

    `p50`, `p95`: upper ends of the bands in which half, and 95 %, of the answers lie; null where there are none, or beyond all bands.
    """

    begins: Time
    model: str
    answers: int
    interrupted: int
    response_ms_mean: float | None
    response_ms_p50: int | None
    response_ms_p95: int | None
    response_ms_largest: int | None
    endpointing_ms_mean: float | None
    thinking_ms_mean: float | None
    voice_ms_mean: float | None
    input_tokens: int
    output_tokens: int
    characters: int


class CallsCounted(Wire):
    """Calls that ended in one stretch of time, by the reason why."""

    begins: Time
    reason: str
    calls: int
    billable: int
    duration_ms: int
    longest_ms: int


class UsageCounted(Wire):
    """What was used in one stretch of time, and what of it was priced then.

    `price_verified` is false where the price is one that we know at second hand: the amounts are estimates. It is null without any.
    """

    begins: Time
    meter: str
    provider: str
    quantity: str
    amounts: list[Money]
    price_verified: bool | None


class Answered(Wire):
    data: list[AnswersCounted]


class Ended(Wire):
    data: list[CallsCounted]


class Used(Wire):
    data: list[UsageCounted]


@router.get("/answers", responses=answers(INVALID_REQUEST))
async def count_answers(organisation: Organisation, read: Read, begins: From, to: To, per: Per = "hour") -> Answered:
    """How many answers agents gave, how quickly, and by which stages. With `as-of`: of what had been appended by then."""
    found = await _counts(read, measures.TURN_MEASURES, organisation, per, begins, to)
    return Answered(data=[_answered(at, model, of) for (at, model), of in _grouped(found, "model")])


@router.get("/calls", responses=answers(INVALID_REQUEST))
async def count_calls(organisation: Organisation, read: Read, begins: From, to: To, per: Per = "hour") -> Ended:
    """How many calls ended, how, and how long they were."""
    found = await _counts(read, measures.CALL_MEASURES, organisation, per, begins, to)
    counted = [
        CallsCounted(
            begins=each["bucket"], reason=each["reason"], calls=each["entries"], billable=int(each["billable_sum"]),
            duration_ms=int(each["duration_ms_sum"]), longest_ms=each["duration_ms_max"],
        )
        for each in found
    ]  # fmt: skip
    return Ended(data=counted)


@router.get("/usage", responses=answers(INVALID_REQUEST))
async def count_usage(organisation: Organisation, ports: Wired, read: Read, begins: From, to: To, per: Per = "hour") -> Used:
    """What was used, meter by meter, and what that costs."""
    found = await _counts(read, measures.USAGE_MEASURES, organisation, per, begins, to)
    counted = [
        UsageCounted(
            begins=at, meter=meter, provider=provider, quantity=f"{sum((each['quantity_sum'] for each in of), Decimal(0)).normalize():f}",
            amounts=[money(each["amount_sum"], each["currency"]) for each in of if each["currency"]],
            price_verified=ports.verified.on(at.date(), provider, meter) if any(each["currency"] for each in of) else None,
        )
        for (at, meter, provider), of in _grouped(found, "meter", "provider")
    ]  # fmt: skip
    return Used(data=counted)


async def _counts(
    read: Reading, series: Series[Any], organisation: str, per: str, begins: datetime, ends: datetime
) -> Sequence[Mapping[str, Any]]:
    if (ends - begins) / _LENGTHS[per] > _MOST_BUCKETS:
        detail = f"is more than {_MOST_BUCKETS} counts behind `from`; ask for fewer, or per something longer"
        raise Problem(
            INVALID_REQUEST, f"No answer has more than {_MOST_BUCKETS} counts in a row.", errors=[At(parameter="to", detail=detail)]
        )
    return await read.counts(series, organisation, per=per, begins=begins, ends=ends, limit=_MOST_COUNTS)


def _grouped(found: Sequence[Mapping[str, Any]], *by: str) -> Sequence[tuple[tuple[Any, ...], list[Mapping[str, Any]]]]:
    return [(key, list(of)) for key, of in groupby(found, key=lambda each: (each["bucket"], *(each[name] for name in by)))]


def _answered(at: datetime, model: str, of: Sequence[Mapping[str, Any]]) -> AnswersCounted:
    timed = [each for each in of if each["band_ms"] != 0]
    responses = sum(each["entries"] for each in timed)

    def total(name: str) -> int:
        return int(sum(each[f"{name}_sum"] for each in of))

    def mean(name: str) -> float | None:
        return round(total(name) / responses, 1) if responses else None

    return AnswersCounted(
        begins=at, model=model, answers=sum(each["entries"] for each in of), interrupted=total("interrupted"),
        response_ms_mean=mean("response_ms"), response_ms_p50=_within(timed, 0.5), response_ms_p95=_within(timed, 0.95),
        response_ms_largest=max((each["response_ms_max"] for each in timed), default=None),
        endpointing_ms_mean=mean("endpointing_ms"), thinking_ms_mean=mean("thinking_ms"), voice_ms_mean=mean("voice_ms"),
        input_tokens=total("input_tokens"), output_tokens=total("output_tokens"), characters=total("characters"),
    )  # fmt: skip


def _within(timed: Sequence[Mapping[str, Any]], share: float) -> int | None:
    counts = {each["band_ms"]: each["entries"] for each in timed}
    wanted, seen = share * sum(counts.values()), 0
    for band in BANDS_MS:
        seen += counts.get(band, 0)
        if seen and seen >= wanted:
            return band
    return None
