"""Why a call says no."""

from commands.decider import CommandRefused


class CallSidReservedAlready(CommandRefused):
    """One call of the carrier's is one call of ours; a repeated webhook goes on with `call_id`."""

    code = "call-sid-reserved"

    def __init__(self, call_id: str, organisation_id: str) -> None:
        super().__init__(f"the carrier's call is call {call_id} already; go on with that one")
        self.call_id = call_id
        self.organisation_id = organisation_id


class CallIdTaken(CommandRefused):
    """One call of ours is one call of the carrier's."""

    code = "call-id-taken"


class CallNotAnswered(CommandRefused):
    """What happens in a call happens after its media stream started."""

    code = "call-not-answered"


class AlreadyAnswered(CommandRefused):
    """One media stream to a call."""

    code = "call-already-answered"


class CallOver(CommandRefused):
    """Nothing happens in a call that has ended."""

    code = "call-over"


class RecordingNotAllowed(CommandRefused):
    """Nothing is recorded without a consent of the caller that still holds."""

    code = "recording-not-allowed"


class ResumedElsewhere(CommandRefused):
    """The call goes on over another media stream; what is said of it over this one comes too late."""

    code = "call-resumed-elsewhere"


class ResumedTooOften(CommandRefused):
    """A call that has lost its worker this often is ended with a sentence."""

    code = "call-resumed-too-often"
