"""Nothing of the model's is said before the guardrails have seen it; what they change is a fact."""

from events.calls.thinking import GuardrailApplied
from realtime.machine.state import Moment
from realtime.speaking import replying
from realtime.speaking.playout import Purpose
from realtime.thinking.guardrails import ruling


def say(moment: Moment, text: str) -> None:
    """Say a piece of the model's words, or what a rule says instead; the agent's own refusal is said once in a reply."""
    state, reply = moment.state, moment.state.reply
    if reply is None:
        return
    before = next((one.text for one in reversed(state.speech.utterances) if one.purpose is Purpose.REPLY), "")
    ruled = ruling(state.briefing.guardrails, text, before)
    said, refusal = ruled.said, state.briefing.wording.cannot_say
    if ruled.action == "block" and not said and refusal not in reply.said:
        said = refusal
    if ruled.rule is not None and ruled.action != "allow":
        seal = state.briefing.seal
        moment.note(
            GuardrailApplied(
                turn=reply.turn, rule=ruled.rule, action=ruled.action, written=seal(text), said=seal(said), at_ms=moment.at_ms
            ),
            essential=True,
        )  # fmt: skip
    replying.say(moment, said)
