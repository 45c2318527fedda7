"""A question to the model as it is put: which model, which context, which tools."""

from collections.abc import Sequence

from realtime.machine.state import CallState
from realtime.ports import ModelRequest
from realtime.thinking import conversation, tooling
from realtime.thinking.conversation import Exchange, Talk
from realtime.thinking.models import THINKING, Choice, choose, needs_of


def choice_for(state: CallState, words: str) -> Choice:
    """The model for a turn, and the rule that chose it."""
    briefing = state.briefing
    needs = needs_of(
        words, briefing.tools, code_execution=briefing.code_execution, latency_requirement_ms=briefing.thresholds.latency_requirement
    )  # fmt: skip
    return choose(needs, briefing.rules, briefing.models)


def thinks(choice: Choice) -> bool:
    """Whether the model that was chosen may think at length before it answers."""
    return choice.logical == THINKING


def question(state: CallState, talk: Talk, exchanges: Sequence[Exchange], model: str, *, thinks: bool = False) -> ModelRequest:
    """The request for what comes next in `talk`, after the rounds with tools of the reply under way."""
    briefing, thresholds = state.briefing, state.briefing.thresholds
    messages = conversation.context(talk, exchanges, thresholds.context_window)
    return ModelRequest(
        model=model, system=briefing.system_prompt, messages=messages, tools=tooling.offered(briefing), max_tokens=thresholds.max_tokens,
        temperature=thresholds.temperature, settled=conversation.settled(talk, messages),
        thinking_tokens=thresholds.thinking_budget if thinks else 0,
        first_token_within_ms=thresholds.thinking_within_ms if thinks else thresholds.first_token_within_ms,
    )  # fmt: skip


def characters(request: ModelRequest) -> int:
    """How long a request is, for an estimate of its tokens."""
    return conversation.size(request.messages) + len(request.system)
