"""A call is run again from what was kept of it, and does what it did; what was altered or has changed is found."""

import asyncio
from dataclasses import replace

import pytest

from events.sealing import KeyErased
from realtime.hearing import vad
from realtime.machine import effects as do
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, ToolReturned
from realtime.machine.stepping import step
from realtime.ports import ToolUse
from realtime.rerun import hearing
from realtime.rerun.changing import UnknownChange, change_of
from realtime.rerun.rerunning import run_again
from realtime.rerun.runs import Kept, Run, RunBroken, load, understood
from realtime.rerun.supposing import Supposed, suppose
from realtime.rerun.world import Memory, Step, World, outside
from tests.realtime.film import CALL, Film, filmed
from tests.realtime.scene import Scene
from tests.realtime.world import keyring

FIND = ToolUse(tool_use_id="t1", name="find_slot", arguments={"day": "friday", "at": [9, 10.5, None]})


async def kept_talk() -> tuple[Film, Kept, Run]:
    keys = keyring()
    film = Film(filmed(keys), keys)
    film.scene.greeted()
    await film.cut()
    talk_on(film.scene)
    await film.keeper.close()
    kept = await film.kept()
    return film, kept, understood(kept, keys)


def talk_on(scene: Scene) -> None:
    """Consent, a tool, an interruption, and a goodbye."""
    scene.says("yes please").wait(10).hears_all()
    scene.says("do you have a slot on friday please").model_answers("", FIND).wait(700)
    scene.tell(ToolReturned, tool_use_id="t1", content={"free": ["nine"]}, failed=False)
    scene.model_answers("Friday at nine is free, and so is Friday at ten in the morning.").wait(1500)
    scene.says("take the first one please").model_answers("It is booked. Goodbye.").hears_all().hangs_up()


class TestCall:
    async def test_does_again_what_it_did(self) -> None:
        film, kept, run = await kept_talk()
        again = run_again(kept, run)
        assert again.difference is None
        assert again.steps == len(run.signals) > 60
        assert film.scene.over

    async def test_is_read_as_it_was(self) -> None:
        film, _, run = await kept_talk()
        assert run.start.briefing == replace(film.scene.briefing, seal=run.start.briefing.seal)
        assert [type(signal) for signal in run.signals[:2]] == [type(signal) for signal in film.signals[:2]]
        assert list(run.signals) == film.signals

    async def test_is_proven_by_the_log_up_to_its_end(self) -> None:
        film, kept, _ = await kept_talk()
        assert kept.proven == len(film.store.objects) == 2
        assert film.proofs[-1].signals == len(film.signals)

    async def test_whose_machine_has_changed_differs_at_the_first_step_that_does(self) -> None:
        _, kept, run = await kept_talk()
        patient = replace(run.start.briefing.thresholds, final_within_ms=2000)
        found = run_again(kept, replace(run, start=replace(run.start, briefing=replace(run.start.briefing, thresholds=patient)))).difference
        assert found is not None
        assert isinstance(found.signal, SpeechStopped)
        then, now = ([one for one in side if isinstance(one, do.SetTimer)] for side in (found.then, found.now))
        assert now[0].at_ms - then[0].at_ms == 500

    async def test_that_broke_within_a_step_has_the_signal_that_broke_it(self) -> None:
        keys = keyring()
        film = Film(filmed(keys), keys)
        film.scene.greeted()
        film.keeper.given(TimerFired(at_ms=film.scene.at_ms, timer=Timer.FINAL, of="it broke here"))
        await film.keeper.close()
        kept = await film.kept()
        run = understood(kept, keys)
        assert run.signals[-1] == TimerFired(at_ms=film.scene.at_ms, timer=Timer.FINAL, of="it broke here")
        assert run_again(kept, run).steps == len(run.signals)


class TestWhatIsKept:
    async def test_with_a_flipped_bit_is_found_out(self) -> None:
        film, _, _ = await kept_talk()
        for name, content in list(film.store.objects.items()):
            for place in (len(content) // 2, len(content) - 1):
                film.store.objects[name] = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
                with pytest.raises(RunBroken):
                    await film.kept()
            film.store.objects[name] = content
        assert (await film.kept()).proven == 2

    async def test_without_one_of_its_stretches_is_found_out(self) -> None:
        for gone in (0, 1):
            film, _, _ = await kept_talk()
            del film.store.objects[sorted(film.store.objects)[gone]]
            with pytest.raises(RunBroken):
                await film.kept()

    async def test_of_another_call_in_its_place_is_found_out(self) -> None:
        film, _, _ = await kept_talk()
        other, _, _ = await kept_talk()
        (first, second), theirs = sorted(film.store.objects), other.store.objects
        film.store.objects = {first: theirs[first], second: theirs[second]}
        with pytest.raises(RunBroken):
            await film.kept()

    async def test_has_no_word_in_clear_and_goes_with_the_callers_key(self) -> None:
        film, _, _ = await kept_talk()
        assert not any(word in content for content in film.store.objects.values() for word in (b"friday", b"booked"))
        with pytest.raises(KeyErased):
            await load(film.store, keyring(), CALL.id, film.proofs)

    async def test_waits_for_a_store_that_is_full_for_a_while(self) -> None:
        keys = keyring()
        film = Film(filmed(keys), keys)
        film.store.full = True
        film.scene.greeted()
        running = asyncio.create_task(film.keeper.run())
        await film.store.refused.wait()
        talk_on(film.scene)
        film.store.full = False
        running.cancel()
        await film.keeper.close()
        assert len(film.store.objects) == 2
        kept = await film.kept()
        assert run_again(kept, understood(kept, keys)).steps == len(film.signals)
        assert not film.counters

    async def test_is_counted_as_lost_where_the_store_stays_full(self) -> None:
        film = Film(Scene())
        film.store.full = True
        film.scene.greeted()
        await film.keeper.close()
        assert film.counters["signals-lost"] == 1
        assert film.told == []


class TestHearing:
    WINDOWS = tuple((32 * n, 0.9 if 10 < n < 40 or 48 < n < 70 else 0.05 + n / 10_000) for n in range(1, 120))

    def listening(self) -> hearing.Listening:
        _, changes = vad.steps(vad.SILENT, vad.Thresholds(), self.WINDOWS)
        loud = b"".join(bytes([0x20 if 340 < at < 1270 or 1560 < at < 2230 else 0xFE]) * 8 for at in range(119 * 32))
        heard = hearing.Heard(windows=[(100, self.WINDOWS, changes)], audio=[loud], ends_ms=100 + 119 * 32)
        return hearing.unpack([hearing.pack(heard)])

    def test_decides_again_as_it_did(self) -> None:
        listening = self.listening()
        assert listening.windows == list(self.WINDOWS)
        assert hearing.decide_again(listening, vad.Thresholds()) == listening.changes
        assert [type(change) for change in listening.changes] == [vad.SpeechStarted, vad.SpeechStopped]

    def test_decides_otherwise_by_other_thresholds(self) -> None:
        listening = self.listening()
        changes = hearing.decide_again(listening, vad.Thresholds(stop_ms=96))
        assert len(changes) == 4
        signals = hearing.speech_signals(listening, changes)
        assert [isinstance(signal, SpeechStarted) for signal in signals] == [True, False] * 2
        assert isinstance(signals[1], SpeechStopped)
        assert abs(signals[1].ended_ms - 1370) <= 20


async def supposed(*what: str) -> Supposed:
    _, kept, run = await kept_talk()
    return suppose(kept, run, change_of(what))


class TestWhatIf:
    async def test_without_a_change_the_world_answers_as_it_did(self) -> None:
        film, _, run = await kept_talk()
        state, steps = run.start, list[Step]()
        for signal in run.signals:
            state, effects = step(state, signal)
            steps.append((signal, effects))
        world = World(Memory(steps), run.start, outside(run.signals))
        world.play()
        assert world.remarks == {}
        assert [effects for _, effects in world.steps if effects] == [effects for _, effects in steps if effects]
        assert film.scene.over

    async def test_nothing_is_otherwise_with_what_it_had(self) -> None:
        assert (await supposed("threshold.patience_ms=900")).divergence is None

    async def test_another_sentence_is_said_instead(self) -> None:
        found = await supposed("wording.how_can_i_help=What is it that I can do for you on this day?")
        assert found.divergence is not None
        assert [one.text for one in found.divergence.now if isinstance(one, do.Speak)][-1].startswith("What is it")
        assert "the agent says “How can I help you?”" in [line for _, line in found.was]
        assert any("lasts as long as its letters take" in remark for remark in found.remarks)
        assert "the agent says “What is it that I can do for you on this day?”" in [line for _, line in found.would_be]

    async def test_another_prompt_is_asked_with_and_the_answers_are_said_to_be_old(self) -> None:
        found = await supposed("prompt=Be brief.")
        assert found.divergence is not None
        (asked,) = [one for one in found.divergence.now if isinstance(one, do.AskModel)]
        assert asked.request.system == "Be brief."
        assert any("other instructions" in remark for remark in found.remarks)
        assert [line for _, line in found.was] == [line for _, line in found.would_be]

    async def test_a_slower_turn_is_seen_in_what_follows(self) -> None:
        _, kept, run = await kept_talk()
        keys = keyring()
        film = Film(filmed(keys), keys)
        film.scene.agreed().says("I want a slot on the", lasting_ms=700).wait(1000)
        film.scene.model_answers("Which day?").hears_all().hangs_up()
        await film.keeper.close()
        kept = await film.kept()
        run = understood(kept, keys)
        found = suppose(kept, run, change_of(["threshold.open_end_ms=2000"]))
        assert found.divergence is not None
        asked = [[ms for ms, line in side if line.endswith("is asked")] for side in (found.was, found.would_be)]
        assert asked[1][0] - asked[0][0] == 400

    async def test_a_question_that_was_never_asked_is_where_it_ends(self) -> None:
        keys = keyring()
        film = Film(filmed(keys), keys)
        film.scene.agreed().says("I want a slot on the", lasting_ms=700).wait(700).says("next friday please")
        film.scene.wait(200).model_answers("Friday is free.").hears_all().hangs_up()
        await film.keeper.close()
        kept = await film.kept()
        run = understood(kept, keys)
        found = suppose(kept, run, change_of(["threshold.open_end_ms=4000"]))
        assert found.divergence is not None
        assert any("what it would have said is not known" in remark for remark in found.remarks)

    @pytest.mark.parametrize("what", ["prompt", "wording.nothing=x", "threshold.patience=1", "threshold.patience_ms=much", "colour=red"])
    def test_what_cannot_be_changed_is_said(self, what: str) -> None:
        with pytest.raises(UnknownChange):
            change_of([what])
