"""A reply from its first word to its last: what is said, what was heard of it, and what follows when it has been heard."""

from collections.abc import Sequence
from dataclasses import replace

from events.calls.ending import Stage
from events.calls.talking import AgentHeard, AgentInterrupted, AgentTurn, Latency, Spent
from realtime.audio import BYTES_PER_MS
from realtime.consent import disclosure
from realtime.consent.permission import Standing
from realtime.machine.effects import CancelTimer, ClearPlayout, ClearVoice, Keep, Play, SendMark, SetTimer, Speak
from realtime.machine.signals import MarkReturned, ModelDone, Timer, VoiceArrived, VoiceDelivered
from realtime.machine.state import CallState, Ending, Moment, Reply, Round
from realtime.speaking import pausing, playout
from realtime.speaking.playout import HeardPart, Purpose, Utterance
from realtime.speaking.pronouncing import spoken, written
from realtime.thinking import accounting, conversation, toolruns
from realtime.thinking.conversation import Exchange
from realtime.thinking.drafts import Drain

# Speech that begins in the last syllable of the agent's interrupts nothing.
_TAIL_MS = 150
# Characters: two seconds of speech.
_WORTH_TELLING = 30


def agent_talks(state: CallState, at_ms: int) -> bool:
    """Whether the agent has more to say than the tail of a word."""
    reply = state.reply
    if reply is None:
        return False
    thinking = reply.asked != 0 or toolruns.waiting(state) or state.speech.pause is not None
    return thinking or not state.speech.all_delivered or state.speech.left_ms(at_ms) > _TAIL_MS


def begin(moment: Moment, *, latency: Latency | None = None, ending: Ending | None = None) -> None:
    """Take the floor. What was being said is cut; that an AI speaks comes first for as long as it was not heard."""
    cut(moment)
    state = moment.state
    first = Round(first_utterance=state.speech.next_id)
    # The carrier may hold a tail of the last reply: its marks are known, so nothing of it is waited for.
    moment.change(
        reply=Reply(turn=state.talk.turn, rounds=(first,), latency=latency or Latency(), ending=ending),
        speech=playout.passed(state.speech, moment.at_ms),
    )
    moment.do(CancelTimer(timer=Timer.SILENCE))
    if not state.disclosure.heard:
        moment.change(disclosure=disclosure.begun(state.disclosure))
        say(moment, state.briefing.wording.disclosure, Purpose.DISCLOSURE)
    if state.preface:
        moment.change(preface="")
        say(moment, state.preface, Purpose.APOLOGY)


def say(moment: Moment, text: str, purpose: Purpose = Purpose.REPLY) -> None:
    """Give a sentence of the reply to the voice. Without a reply, or without a word in it, nothing is said."""
    reply = moment.state.reply
    if reply is None or not written(text):
        return
    waiting = not moment.state.speech.all_delivered
    given = spoken(text, moment.state.briefing.pronunciation)
    text = written(text)
    speech, utterance = playout.said(moment.state.speech, text, purpose, moment.at_ms, characters=len(given))
    moment.change(speech=speech, reply=replace(reply, said=(*reply.said, text)))
    spend_characters(moment, len(given))
    moment.do(Speak(utterance=utterance.id, text=given))
    if not waiting:
        expect_voice(moment)


def spend_characters(moment: Moment, count: int) -> None:
    """Given to the voice, which counts them: the one with which the call was answered, or who has taken its place."""
    reply = moment.state.reply
    if reply is None:
        return
    elsewhere = dict(reply.spent.elsewhere)
    if provider := standing_in(moment.state):
        elsewhere[provider] = elsewhere.get(provider, 0) + count
    moment.change_reply(spent=replace(reply.spent, characters=reply.spent.characters + count, elsewhere=elsewhere))


def standing_in(state: CallState) -> str:
    """The provider who speaks for another and has an account of its own, which the embedded floor, at no price, has not; else empty."""
    provider = state.voice_engine.partition("@")[0]
    return provider if "/" in provider and provider != state.briefing.voice else ""


def expect_voice(moment: Moment) -> None:
    """The voice owes audio from now on."""
    moment.change(voice_since_ms=moment.at_ms)
    moment.do(SetTimer(timer=Timer.VOICE, at_ms=moment.at_ms + moment.state.briefing.thresholds.voice_within_ms))


def say_filler(moment: Moment, phrases: Sequence[str]) -> str | None:
    """Something that is no answer, another phrase each time; never two in a row. Returns what was said."""
    utterances, said = moment.state.speech.utterances, moment.state.fillers
    if not phrases or (utterances and utterances[-1].purpose is Purpose.FILLER):
        return None
    phrase = phrases[said % len(phrases)]
    moment.change(fillers=said + 1)
    say(moment, phrase, Purpose.FILLER)
    return phrase


def voice_arrived(moment: Moment, signal: VoiceArrived) -> None:
    speech, utterance = playout.arrived(moment.state.speech, signal.samples, signal.at_ms)
    reply = moment.state.reply
    if utterance is None or reply is None:
        return
    # Its timer looks at this when it fires: an alarm clock is not set again for each piece of audio.
    moment.change(speech=speech, voice_since_ms=signal.at_ms, voices_tried=0)
    if reply.latency.first_byte_ms is None:
        moment.change_reply(latency=replace(reply.latency, first_byte_ms=signal.at_ms))
    if speech.pause is not None:
        moment.do(Keep(utterance=utterance.id))
        if pausing.keeps_too_much(speech):
            cut(moment, spoke_over_since_ms=speech.pause.since_ms)
        return
    on_wire(moment)
    from_sample = speech.playout_end - signal.samples
    moment.do(Play(generation=speech.generation, utterance=utterance.id, samples=signal.samples, from_sample=from_sample))


def on_wire(moment: Moment) -> None:
    """The first sound of a reply goes out."""
    reply = moment.state.reply
    if reply is not None and reply.latency.on_wire_ms is None:
        moment.change_reply(latency=replace(reply.latency, on_wire_ms=moment.at_ms))
    if moment.state.stage is Stage.CONNECTING:
        moment.change(stage=Stage.GREETING)


def voice_delivered(moment: Moment, signal: VoiceDelivered) -> None:
    speech, whole = playout.delivered(moment.state.speech, signal.utterance)
    if not whole:
        return
    moment.change(speech=speech)
    if signal.from_memory:
        spend_characters(moment, -sum(utterance.characters for utterance in whole))
        moment.change(speech=playout.unflushed(speech, len(whole)))
    if speech.all_delivered:
        moment.do(CancelTimer(timer=Timer.VOICE))
    if speech.pause is None:
        await_mark(moment, whole[-1])


def await_mark(moment: Moment, utterance: Utterance) -> None:
    """Ask the carrier to say when all up to here has played, and do not wait for it for ever."""
    speech, grace_ms = moment.state.speech, moment.state.briefing.thresholds.playout_grace_ms
    moment.do(
        SendMark(name=playout.mark_name(speech, utterance)),
        SetTimer(timer=Timer.PLAYOUT, at_ms=max(moment.at_ms, speech.playout_end // BYTES_PER_MS) + grace_ms),
    )


def mark_returned(moment: Moment, signal: MarkReturned) -> None:
    speech, played = playout.mark_returned(moment.state.speech, signal.name, signal.at_ms)
    moment.change(speech=speech)
    for utterance in played:
        _was_heard(moment, utterance)
    if played:
        settle(moment)
        _tell_part(moment, played)


def _tell_part(moment: Moment, played: Sequence[Utterance]) -> None:
    """What another worker would not say again; of what ends soon, or does more than speak, nothing is told before its end."""
    state, reply = moment.state, moment.state.reply
    if reply is None or not state.briefing.resumable or not reply.turn or reply.round.uses or reply.ending is not None:
        return
    to_come = " ".join(one.text for one in state.speech.utterances if one.played_ms is None)
    if len(to_come) < _WORTH_TELLING or any(one.purpose is Purpose.PERMISSION for one in state.speech.utterances):
        return
    seal = state.briefing.seal
    heard, complete = " ".join(one.text for one in played), not reply.asked
    moment.note(AgentHeard(turn=reply.turn, heard=seal(heard), to_come=seal(to_come), complete=complete, at_ms=moment.at_ms))


def _was_heard(moment: Moment, utterance: Utterance) -> None:
    told, fact = disclosure.spoken(moment.state.disclosure, utterance)
    if fact is not None:
        moment.change(disclosure=told)
        moment.note(fact, essential=True)
    if utterance.purpose is Purpose.PERMISSION:
        moment.change(permission=replace(moment.state.permission, heard_share=1.0))


def playout_overdue(moment: Moment) -> None:
    """No mark came back in all the time that playing takes: go on by the clock, which proves nothing."""
    if moment.state.reply is not None and moment.state.speech.all_delivered and moment.state.speech.pause is None:
        moment.change(speech=playout.presumed_played(moment.state.speech, moment.at_ms))
        if any(utterance.purpose is Purpose.PERMISSION for utterance in moment.state.speech.utterances):
            moment.change(permission=replace(moment.state.permission, heard_share=1.0))
        settle(moment)


def settle(moment: Moment) -> None:
    """When nothing of the reply is left to come, it becomes a turn of the agent's, and the floor is the caller's."""
    state, reply = moment.state, moment.state.reply
    if reply is None or reply.asked or toolruns.waiting(state) or not state.speech.silent or state.speech.pause is not None:
        return
    moment.do(CancelTimer(timer=Timer.PLAYOUT), CancelTimer(timer=Timer.FILLER))
    _become_turn(moment, reply, playout.heard(state.speech, moment.at_ms), silent_ms=moment.at_ms, interrupted=False)
    if reply.ending is not None:
        moment.change(ended=reply.ending)
        return
    wait_for_caller(moment)


def wait_for_caller(moment: Moment) -> None:
    """The floor is the caller's, and they may think; not for ever."""
    if not moment.state.floor.speaking:
        moment.do(SetTimer(timer=Timer.SILENCE, at_ms=moment.at_ms + moment.state.briefing.thresholds.silence_ms))


def cut(moment: Moment, *, spoke_over_since_ms: int | None = None) -> None:
    """Stop talking now. What was heard is a turn of the agent's; the rest was generated and not heard."""
    if moment.state.reply is None:
        return
    toolruns.give_up(moment)
    state, reply = moment.state, moment.state.reply
    parts = playout.heard(state.speech, moment.at_ms)
    if reply.asked:
        done = next((signal for signal in reply.held if isinstance(signal, ModelDone)), None)
        told = _estimated(reply) if done is None else accounting.added(reply.spent, done.usage)
        moment.do(CancelTimer(timer=Timer.MODEL))
        if done is None:
            accounting.drain(moment, Drain(asked=reply.asked, turn=reply.turn, before=reply.spent, estimate=told))
        reply = replace(reply, asked=0, spent=told)
    moment.do(CancelTimer(timer=Timer.VOICE), CancelTimer(timer=Timer.PLAYOUT), CancelTimer(timer=Timer.FILLER))
    complete = state.speech.all_delivered and all(part.whole for part in parts)
    pause = state.speech.pause
    if pause is not None:
        # The carrier was cleared when the pause began.
        moment.do(CancelTimer(timer=Timer.PAUSE), ClearVoice())
    elif not complete or state.speech.left_ms(moment.at_ms):
        moment.do(ClearVoice(), ClearPlayout())
    moment.change(speech=playout.silenced(state.speech, moment.at_ms))
    for part in parts:
        if part.utterance.purpose is Purpose.PERMISSION:
            moment.change(permission=replace(moment.state.permission, heard_share=part.share))
    silent_ms = moment.at_ms if pause is None else pause.at_ms
    _become_turn(moment, reply, parts, silent_ms=silent_ms, interrupted=not complete)
    if spoke_over_since_ms is not None and any(part.utterance.samples > part.utterance.held for part in parts):
        moment.note(AgentInterrupted(turn=reply.turn, speech_started_ms=min(spoke_over_since_ms, silent_ms), cleared_ms=silent_ms))


def _become_turn(moment: Moment, reply: Reply, parts: Sequence[HeardPart], *, silent_ms: int, interrupted: bool) -> None:
    state = moment.state
    exchanges, last = _heard_rounds(reply, parts)
    moment.change(talk=conversation.agent_said(state.talk, exchanges, last), reply=None)
    if not reply.said and not reply.spent.model:
        return
    sounded = [part.utterance for part in parts if part.samples]
    began_ms = sounded[0].from_sample // BYTES_PER_MS if sounded else None
    unproven = interrupted or any(utterance.presumed or utterance.played_ms is None for utterance in sounded)
    ended_ms = None if began_ms is None else min(silent_ms, max(one.until_sample for one in sounded) // BYTES_PER_MS)
    seal = state.briefing.seal
    moment.note(
        AgentTurn(
            turn=reply.turn, said=seal(" ".join(reply.said)), heard=seal(" ".join(part.words for part in parts if part.words)),
            evidence=playout.evidence_of(parts, cut=unproven), interrupted=interrupted, started_ms=began_ms, ended_ms=ended_ms,
            latency=reply.latency, spent=reply.spent,
        ),
        essential=True,
    )  # fmt: skip
    if state.stage is Stage.GREETING and not interrupted:
        moment.change(stage=Stage.CONVERSATION)


def _heard_rounds(reply: Reply, parts: Sequence[HeardPart]) -> tuple[list[Exchange], str]:
    """The words heard in each round that called tools, and those of the last round."""
    texts = []
    for index, one in enumerate(reply.rounds):
        until = reply.rounds[index + 1].first_utterance if index + 1 < len(reply.rounds) else None
        inside = [part.words for part in parts if part.utterance.id >= one.first_utterance and (until is None or part.utterance.id < until)]
        texts.append(" ".join(words for words in inside if words))
    exchanges = [
        Exchange(text=text, uses=one.uses, outcomes=one.outcomes, reasoning=one.reasoning)
        for one, text in zip(reply.rounds, texts, strict=True)
        if one.uses
    ]
    return exchanges, texts[-1] if not reply.round.uses else ""


def exchanges_said(state: CallState) -> list[Exchange]:
    """The rounds with tools of the reply under way, in the words that were said, for the model's next question."""
    reply = state.reply
    if reply is None:
        return []
    parts = [HeardPart(utterance=utterance, words=utterance.text, exact=True) for utterance in state.speech.utterances]
    return _heard_rounds(reply, parts)[0]


def _estimated(reply: Reply) -> Spent:
    """What a question cost whose answer was cut before the provider said so."""
    return accounting.estimated(reply.spent, reply.asked_characters, reply.answered_characters)


def ask_permission(moment: Moment) -> None:
    """Put the question whether we may record, at the end of what is being said."""
    state = moment.state
    permission = state.permission
    words = state.briefing.wording
    text = words.permission_question if permission.times_asked == 0 else words.permission_again
    moment.change(permission=replace(permission, standing=Standing.ASKED, times_asked=permission.times_asked + 1, heard_share=0.0))
    say(moment, text, Purpose.PERMISSION)
