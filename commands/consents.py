"""Decides what a person's word changes: permissions are given and taken back, one stream for each caller of a business."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider
from events.consents import ConsentEvent, ConsentGranted, ConsentRevoked, Purpose
from events.sealing import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantConsent:
    """The person said yes. `evidence` locates the audio or the form that proves it; `expires_at` is aware, None for no end."""

    subject: Sealed[str]
    purpose: Purpose
    evidence: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeConsent:
    """The person took it back."""

    purpose: Purpose
    evidence: str


ConsentCommand: TypeAlias = GrantConsent | RevokeConsent


class ConsentNotHeld(CommandRefused):
    """Only what was allowed can be taken back."""

    code = "consent-not-held"

    def __init__(self, purpose: Purpose) -> None:
        super().__init__(f"no consent for {purpose.value} is held, so there is none to withdraw; see what the person allows first")
        self.purpose = purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a person allows, each with its end; None where it has none. An entry past its end stays until it is renewed or revoked."""

    until: Mapping[Purpose, datetime | None] = field(default_factory=dict)

    def allows(self, purpose: Purpose, at: datetime) -> bool:
        """Whether the permission holds at a moment; at its very end it no longer does."""
        if purpose not in self.until:
            return False
        end = self.until[purpose]
        return end is None or at < end


NOTHING_HELD = Held()


def decide(command: ConsentCommand, held: Held) -> Sequence[ConsentEvent]:
    """A grant that adds nothing to what is held brings no fact; one that outlasts it renews it."""
    match command:
        case GrantConsent(purpose=purpose, expires_at=expires_at) if _covers(held, purpose, expires_at):
            return ()
        case GrantConsent(subject=subject, purpose=purpose, evidence=evidence, expires_at=expires_at):
            return (ConsentGranted(subject=subject, purpose=purpose, evidence=evidence, expires_at=expires_at),)
        case RevokeConsent(purpose=purpose, evidence=evidence):
            if purpose not in held.until:
                raise ConsentNotHeld(purpose)
            return (ConsentRevoked(purpose=purpose, evidence=evidence),)
        case _:
            assert_never(command)


def evolve(held: Held, fact: ConsentEvent) -> Held:
    match fact:
        case ConsentGranted(purpose=purpose, expires_at=expires_at):
            return Held(until={**held.until, purpose: expires_at})
        case ConsentRevoked(purpose=purpose):
            return Held(until={other: end for other, end in held.until.items() if other != purpose})
        case _:
            assert_never(fact)


def _covers(held: Held, purpose: Purpose, expires_at: datetime | None) -> bool:
    # No clock is needed to see through an expired entry: a grant made after its end ends later than it did.
    if purpose not in held.until:
        return False
    end = held.until[purpose]
    return end is None or (expires_at is not None and expires_at <= end)


CONSENTS = Decider(room="consents", category="consents", initial=NOTHING_HELD, decide=decide, evolve=evolve)
