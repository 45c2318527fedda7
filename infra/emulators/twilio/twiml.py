"""TwiML as the carrier reads it: the verbs that our webhooks may answer with, and a refusal of everything else."""

import re
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree as ET


class TwimlRefused(Exception):
    """The document would make the real carrier stop the call; `code` is its error code (twilio.com/docs/api/errors)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    text: str
    language: str = "en-US"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    url: str
    parameters: dict[str, str] = field(default_factory=dict)
    told_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """One number; `events` are those of its leg that are told at `told_at`."""

    number: str
    action: str
    told_at: str
    events: tuple[str, ...]


Verb: TypeAlias = Say | Stream | Redirect | Hangup | Pause | Dial
_LEG_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
_E164 = re.compile(r"\+[1-9][0-9]{6,14}\Z")


def read_twiml(document: str, base_url: str) -> list[Verb]:
    """The verbs in order, with addresses made absolute. Raises TwimlRefused."""
    try:
        root = ET.fromstring(document)  # noqa: S314 - our own webhook's answer over loopback
    except ET.ParseError as cause:
        raise TwimlRefused(12100, f"document parse failure: {cause}") from cause
    if root.tag != "Response":
        raise TwimlRefused(12102, f"the root is <{root.tag}>, not <Response>")
    return [_verb(element, base_url) for element in root]


def _verb(element: ET.Element, base_url: str) -> Verb:
    text = (element.text or "").strip()
    match element.tag:
        case "Say":
            return Say(text=text, language=element.get("language", "en-US"))
        case "Hangup" | "Reject":
            return Hangup()
        case "Pause":
            return Pause(seconds=int(element.get("length", "1")))
        case "Redirect":
            return Redirect(url=urljoin(base_url, text))
        case "Connect":
            streams = [child for child in element if child.tag == "Stream"]
            if len(streams) != 1 or len(element) != 1:
                raise TwimlRefused(12200, "<Connect> must hold one <Stream>")
            return _stream(streams[0], base_url)
        case "Dial":
            return _dial(element, base_url)
        case other:
            raise TwimlRefused(12200, f"<{other}> is no verb here")


def _dial(element: ET.Element, base_url: str) -> Dial:
    numbers = [child for child in element if child.tag == "Number"]
    if len(numbers) != 1 or len(element) != 1:
        raise TwimlRefused(12200, "<Dial> holds one <Number> here")
    (number,) = numbers
    dialled, events = (number.text or "").strip(), tuple(number.get("statusCallbackEvent", "").split())
    if not _E164.match(dialled):
        raise TwimlRefused(13223, f"<Dial> invalid phone number format: {dialled!r}")
    if strange := set(events) - _LEG_EVENTS:
        raise TwimlRefused(13224, f"<Number> has no event {min(strange)}")
    told_at = urljoin(base_url, number.get("statusCallback", "")) if number.get("statusCallback") else ""
    return Dial(number=dialled, action=urljoin(base_url, element.get("action", "")), told_at=told_at, events=events)


def _stream(element: ET.Element, base_url: str) -> Stream:
    url = element.get("url", "")
    parts = urlsplit(url)
    loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "wss" and not (parts.scheme == "ws" and loopback):
        raise TwimlRefused(31921, f"the stream's url must be wss, not {parts.scheme}")
    if parts.query:
        raise TwimlRefused(31920, "a stream's url has no query string; use <Parameter>")
    parameters: dict[str, str] = {}
    for child in element:
        name, value = child.get("name"), child.get("value")
        if child.tag != "Parameter" or not name or value is None:
            raise TwimlRefused(12200, f"<{child.tag}> cannot stand in <Stream>")
        if len(name) + len(value) > 500:
            raise TwimlRefused(12200, "a <Parameter> has at most 500 characters in name and value")
        parameters[name] = value
    told_at = urljoin(base_url, element.get("statusCallback", "")) if element.get("statusCallback") else ""
    return Stream(url=url, parameters=parameters, told_at=told_at)
