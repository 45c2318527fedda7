"""What the model may ask of the line itself: that digits be keyed in unseen, and that the caller be put through."""

from realtime.control import capturing, transferring
from realtime.machine.briefing import Briefing
from realtime.machine.state import Moment
from realtime.ports import ToolSpec, ToolUse
from realtime.thinking import toolruns

_NO_SUCH_DESTINATION = "There is no such destination, or the caller is being put through already."
_MAKES_NO_SENSE = "The arguments make no sense, or digits are being keyed in already."


def offered(briefing: Briefing) -> tuple[ToolSpec, ...]:
    """What this agent's configuration allows."""
    capture = (capturing.CAPTURE_DIGITS,) if briefing.captures_digits else ()
    transfer = (transferring.spec(briefing.destinations),) if briefing.destinations else ()
    return (*capture, *transfer)


def request(moment: Moment, use: ToolUse) -> bool:
    """Do what the model asks, with its outcome; False when it is no tool of the line's."""
    briefing = moment.state.briefing
    if use.name == "transfer_call" and briefing.destinations:
        done = transferring.after_these_words(moment, str(use.arguments.get("destination", "")))
        told = {"status": "the caller is put through after these words"} if done else _NO_SUCH_DESTINATION
        toolruns.outcome(moment, use, told, failed=not done)
        return True
    if use.name == capturing.CAPTURE_DIGITS.name and briefing.captures_digits:
        asked = capturing.wanted(use.arguments)
        begun = asked is not None and capturing.begin(moment, asked)
        told = {"status": "the keypad is read after these words; the outcome will be told"} if begun else _MAKES_NO_SENSE
        toolruns.outcome(moment, use, told, failed=not begun)
        return True
    return False
