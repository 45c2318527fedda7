"""May we record? How far the question is."""

from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """How far the question is. Only `RECORDABLE` allows a recording to start."""

    TO_ASK = "to-ask"
    ASKED = "asked"
    GRANTING = "granting"
    RECORDABLE = "recordable"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """The question and its state. `times_asked` counts how often it was put, `heard_share` how much of the last time was heard."""

    standing: Standing = Standing.TO_ASK
    times_asked: int = 0
    heard_share: float = 0.0
