"""Personal values at the door: phone numbers are read, sealed and referred to; what is sealed is opened for whoever may see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import phonenumbers
from pydantic import AfterValidator, Field

from api.wire import nothing
from events.sealing import KeyErased, KeyRing, Sealed

CALLER = "caller_"
_REFERENCE = re.compile(r"caller_([0-9a-f]{32})\Z")


def e164(text: str) -> str:
    """A phone number in E.164 from one with its country code. Raises ValueError."""
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException as cause:
        raise ValueError("must be a phone number in E.164, such as +14155550123") from cause
    if not phonenumbers.is_possible_number(number) or number.extension:
        raise ValueError("is no phone number that can exist: check its length and its country code")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


PhoneNumber = Annotated[str, Field(max_length=40, examples=["+14155550123"], description="E.164."), AfterValidator(e164)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A caller of a business by keyed hash; `number` when it was given in clear."""

    reference: str
    number: str | None = None

    @property
    def id(self) -> str:
        return CALLER + self.reference


def person(keyring: KeyRing, organisation: str, text: str) -> Person:
    """A caller as named in an address: `caller_…` or a phone number. Raises Problem (404) for neither."""
    if named := _REFERENCE.match(text):
        return Person(reference=named[1])
    try:
        number = e164(text)
    except ValueError as cause:
        raise nothing("caller") from cause
    return Person(reference=keyring.reference(organisation, number), number=number)


def seal_caller(keyring: KeyRing, organisation: str, number: str) -> tuple[str, Sealed[str]]:
    """A caller's keyed hash, and their number sealed under their own key."""
    reference = keyring.reference(organisation, number)
    return reference, keyring.seal(f"{organisation}/{reference}", number)


def seal_number(keyring: KeyRing, organisation: str, number: str) -> Sealed[str]:
    """A number of the business, sealed under the business's key."""
    return keyring.seal(organisation, number)


def opened(keyring: KeyRing, sealed: Sealed[str] | None) -> str | None:
    """The value in clear; None where there is none, or where the person's key was erased."""
    if sealed is None:
        return None
    try:
        return keyring.open(sealed)
    except KeyErased:
        return None


def in_clear(keyring: KeyRing, value: Any) -> Any:
    """A value of a fact or a row as JSON has it; what is sealed is opened."""
    match value:
        case Sealed():
            return opened(keyring, value)
        case Enum():
            return value.value
        case Decimal():
            return f"{value:f}"
        case bytes():
            return value.hex()
        case Mapping():
            return {key: in_clear(keyring, inner) for key, inner in value.items()}
        case tuple() | list():
            return [in_clear(keyring, inner) for inner in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: in_clear(keyring, getattr(value, field.name)) for field in fields(value)}
        case _:
            return value
