"""What a spooled command becomes when it can no longer be told in time: a witness to the same, which decides nothing."""

from dataclasses import fields
from typing import TypeVar

from commands.calls.orders import AnswerCall, EndCall, ResumeCall, Witness, WitnessLate
from events.calls.ending import CallEnded
from events.calls.reasons import promises_callback
from events.calls.ringing import CallAnswered, CallResumed

C = TypeVar("C")


def as_late(command: C, incarnation: str, sequence: int) -> C | WitnessLate:
    """A person's word, such as a withdrawal, holds whenever it comes: it and all else stays as it is."""
    match command:
        case Witness(fact=fact):
            return WitnessLate(incarnation=incarnation, sequence=sequence, fact=fact)
        case AnswerCall():
            answered = CallAnswered(**{each.name: getattr(command, each.name) for each in fields(command)})
            return WitnessLate(incarnation=incarnation, sequence=sequence, fact=answered)
        case ResumeCall():
            # Which attempt it would have been was never decided.
            kept = {each.name: getattr(command, each.name) for each in fields(command) if each.name != "after"}
            return WitnessLate(incarnation=incarnation, sequence=sequence, fact=CallResumed(**kept, attempt=0))
        case EndCall():
            told = {each.name: getattr(command, each.name) for each in fields(CallEnded) if each.name != "callback_promised"}
            ended = CallEnded(**told, callback_promised=promises_callback(command.reason, command.stage))
            return WitnessLate(incarnation=incarnation, sequence=sequence, fact=ended)
        case _:
            return command
