"""What the demo's call must have shown, each held against rows, log and recording."""

import io
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from infra.apps.story import CallStory, Happening
from projections.calls import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that had to be so, and how it was."""

    promise: str
    kept: bool
    seen: str


def findings(story: CallStory, wav: bytes | None) -> Sequence[Finding]:
    """Everything that one call can prove."""
    return [*_conversation(story), *_consent(story), *_recording(story, wav), *_money(story)]


def _conversation(story: CallStory) -> Iterator[Finding]:
    disclosed = _first(story, "disclosure-spoken")
    seen = f"heard whole by {disclosed.entry.ended_ms} ms, {disclosed.entry.evidence}" if disclosed else "no such fact"
    yield Finding(promise="the caller heard that an AI speaks", kept=disclosed is not None, seen=seen)
    turns = [each for each in story.happenings if each.entry.kind == "caller-turn"]
    yield Finding(promise="at least four turns", kept=len(turns) >= 4, seen=f"{len(turns)} turns")
    tools = [each for each in story.happenings if each.entry.kind == "tool-requested"]
    answered = {each.entry.tool_use_id for each in story.happenings if each.entry.kind == "tool-answered" and not each.entry.failed}
    filled = [each for each in tools if each.filler and each.entry.tool_use_id in answered]
    yield Finding(
        promise="a tool ran behind a filler", kept=bool(filled), seen=f"{filled[0].entry.tool}: {filled[0].filler}" if filled else "none"
    )
    cut = [each for each in story.happenings if each.entry.kind == "agent-turn" and each.entry.interrupted]
    short = [each for each in cut if len(each.heard or "") < len(each.words or "")]
    seen = f"{len(short[0].heard or '')} of {len(short[0].words or '')} characters were heard" if short else "no reply was cut short"
    yield Finding(promise="a reply was interrupted, and only what was heard counts", kept=bool(short), seen=seen)
    ended = f"{story.call.end_reason}, by the {story.call.ended_by.value if story.call.ended_by else 'nobody'}"
    yield Finding(promise="a goodbye ended the call", kept=story.call.end_reason == "goodbye", seen=ended)
    models = {each.entry.rule for each in story.happenings if each.entry.kind == "model-chosen"}
    yield Finding(promise="each model was chosen by a rule", kept=bool(models) and None not in models, seen=", ".join(map(str, models)))
    yield Finding(promise="a flag took part", kept=bool(story.flags), seen=", ".join(f"{flag.name}={flag.variant}" for flag in story.flags))


def _consent(story: CallStory) -> Iterator[Finding]:
    granted = next((word for word in story.consents if word.granted and word.rests_on_it), None)
    withdrawn = next((word for word in story.consents if not word.granted), None)
    started = _first(story, "recording-started")
    before = granted is not None and started is not None and started.entry.consent_version == granted.version
    yield Finding(
        promise="recording started only on a consent that the log has", kept=before, seen=granted.position if granted else "no consent"
    )
    stopped = _first(story, "recording-stopped")
    kept = withdrawn is not None and stopped is not None and story.call.recording is Recording.STOPPED
    seen = f"stopped at {stopped.entry.at_ms} ms ({stopped.entry.reason})" if stopped else "never stopped"
    yield Finding(promise="the withdrawn consent stopped it", kept=kept, seen=seen)


def _recording(story: CallStory, wav: bytes | None) -> Iterator[Finding]:
    if wav is None:
        yield Finding(promise="the recording is there", kept=False, seen="there is none")
        return
    with wave.open(io.BytesIO(wav)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    started, stopped = _first(story, "recording-started"), _first(story, "recording-stopped")
    from_ms = started.entry.at_ms if started and started.entry.at_ms is not None else 0
    to_ms = stopped.entry.at_ms if stopped and stopped.entry.at_ms is not None else story.call.duration_ms or 0
    inside = samples[from_ms * rate // 1000 : to_ms * rate // 1000]
    outside = np.concatenate([samples[: from_ms * rate // 1000], samples[to_ms * rate // 1000 :]])
    both = bool(inside.size) and bool(np.abs(inside[:, 0]).max() > 1000 and np.abs(inside[:, 1]).max() > 1000)
    seen = f"{(to_ms - from_ms) / 1000:.1f} s of {len(samples) / rate:.1f} s are kept"
    yield Finding(promise="the recording has both sides", kept=both, seen=seen)
    yield Finding(
        promise="digital silence wherever the caller had not agreed",
        kept=not outside.any(),
        seen=f"{np.count_nonzero(outside)} samples are not zero",
    )


def _money(story: CallStory) -> Iterator[Finding]:
    usage = story.usage
    total = None if usage is None else usage.total
    seen = "no usage" if usage is None else f"{len(usage.rated)} lines, {usage.currency} {total}, by {usage.rate_table}"
    yield Finding(promise="the call's usage is rated", kept=bool(usage and usage.rated and total), seen=seen)


def _first(story: CallStory, kind: str) -> Happening | None:
    return next((each for each in story.happenings if each.entry.kind == kind), None)
