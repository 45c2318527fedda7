"""An agent's configuration, read from the JSON that its owner wrote: checked whole, kept whole, known keys typed."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Any, Final, TypeAlias, TypeVar

from commands.decider import CommandRefused

T = TypeVar("T")
Json: TypeAlias = Any
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
INTEGRATIONS: Final = ("managed", "sip_trunk", "twilio")
MOST_TOOL_CALLS: Final = 5
_LONGEST: Final = 200_000


class InvalidConfiguration(CommandRefused):
    """A configuration is JSON of the form that agents have. `errors`: a JSON pointer (RFC 6901) and what is wrong there."""

    code = "invalid-configuration"

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer or 'the document'}: {detail}" for pointer, detail in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """`by_language` maps languages to voices, `others` names of one's own to further voices of the same language.

    A voice is its provider's name: `aura-2-thalia-en`, `polly/Joanna`, or both with a bar between, where one stands in for the other.
    """

    model: str = "aura-2-thalia-en"
    style: str = ""
    natural_speech: bool = True
    emotion_control: str = ""
    by_language: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """BCP 47 tags; `supported` always has `primary` among them. Spoken are those that have a voice.

    `wording` has the agent's sentences by language and name, `pronunciation` words by language and as they are to be said.
    """

    primary: str = "en-US"
    auto_detect: bool = False
    supported: tuple[str, ...] = ("en-US",)
    wording: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pronunciation: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    tools_enabled: bool = False
    max_tool_calls: int = MOST_TOOL_CALLS
    async_workflows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """`max_response_time` in ms, `interruption_threshold` and `temperature` from 0 to 1, `context_window` in tokens."""

    max_response_time: int = 1500
    interruption_threshold: float = 0.7
    context_window: int = 32_000
    temperature: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneIntegration:
    type: str = "managed"
    region: str = "us-east-1"
    fallback_region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfiguration:
    """`models` maps tiers (`default`, `fast`, …) to model names; `extra` has the keys of the document that stand nowhere else."""

    name: str
    version: str
    system_prompt: str
    greeting: str
    voice: Voice
    language: Language
    models: Mapping[str, str]
    automation: Automation
    parameters: Parameters
    phone_integration: PhoneIntegration
    extra: Mapping[str, Json] = field(default_factory=dict)


_REQUIRED: Final = {"name": 200, "version": 60, "system_prompt": 100_000, "greeting": 2_000}
_TIERS: Final = ("default", "fast", "complex", "thinking")
_KNOWN: Final = frozenset(AgentConfiguration.__dataclass_fields__) - {"extra"}


def read_configuration(text: str) -> AgentConfiguration:
    """Raises InvalidConfiguration with every error found. A section that is left out has its defaults."""
    document = _load(text)
    return _checked(document)


def canonical(text: str) -> str:
    """The one spelling of a JSON document: keys sorted, no spaces. Raises InvalidConfiguration for what is not JSON."""
    return json.dumps(_load(text), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def version_hash(canonical_text: str) -> str:
    """SHA-256, 64 hex characters."""
    return sha256(canonical_text.encode()).hexdigest()


def _load(text: str) -> dict[str, Json]:
    if len(text) > _LONGEST:
        raise InvalidConfiguration([("", f"is longer than {_LONGEST} characters")])
    try:
        text.encode()
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)
        json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as cause:
        where = f"line {cause.lineno}, column {cause.colno}"
        raise InvalidConfiguration([("", f"is not JSON at {where}: {cause.msg} (JSON has no comments)")]) from cause
    except UnicodeEncodeError as cause:
        raise InvalidConfiguration([("", "has half a surrogate pair in a text")]) from cause
    except RecursionError as cause:
        raise InvalidConfiguration([("", "is nested too deeply")]) from cause
    except ValueError as cause:
        raise InvalidConfiguration([("", str(cause))]) from cause
    if not isinstance(document, dict):
        raise InvalidConfiguration([("", "must be an object")])
    return document


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return entries


def _finite(number: str) -> float:
    if not isfinite(float(number)):
        raise ValueError(f"has {number}, which no JSON reader can hold")
    return float(number)


class _Section:
    """One object of the document, read key by key; what is wrong is gathered with its pointer."""

    def __init__(self, entries: Json, pointer: str, errors: list[tuple[str, str]]) -> None:
        self.errors = errors
        self.pointer = pointer
        if not isinstance(entries, dict):
            self.wrong("", "must be an object")
            entries = {}
        self.entries: dict[str, Json] = entries

    def wrong(self, path: str, detail: str) -> None:
        self.errors.append((self.pointer + path, detail))

    def section(self, key: str) -> "_Section":
        return _Section(self.entries.get(key, {}), f"{self.pointer}/{_escaped(key)}", self.errors)

    def read(self, key: str, default: T, fits: Callable[[Json], bool], must: str) -> T:
        value: Any = self.entries.get(key, default)
        if value is default or fits(value):
            return value  # type: ignore[no-any-return]
        self.wrong(f"/{key}", f"must be {must}")
        return default

    def required(self, key: str, longest: int) -> str:
        if key not in self.entries:
            self.wrong(f"/{key}", "is missing")
            return ""
        return self.read(key, "", lambda value: _is_text(value, longest), f"a text of 1 to {longest} characters that are not all blank")

    def text(self, key: str, default: str, longest: int = 100) -> str:
        return self.read(key, default, lambda value: _is_text(value, longest), f"a text of 1 to {longest} characters")

    def texts(self, longest: int = 100) -> dict[str, str]:
        """All entries of the section, each a text; without those that are none."""
        for key, value in self.entries.items():
            if not _is_text(value, longest):
                self.wrong(f"/{_escaped(key)}", f"must be a text of 1 to {longest} characters")
        return {key: value for key, value in self.entries.items() if _is_text(value, longest)}

    def switch(self, key: str, default: bool) -> bool:
        return self.read(key, default, lambda value: isinstance(value, bool), "true or false")

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        return self.read(key, default, lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high}")

    def share(self, key: str, default: float) -> float:
        return float(self.read(key, default, lambda value: type(value) in (int, float) and 0 <= value <= 1, "a number from 0 to 1"))


def _escaped(key: str) -> str:
    """A key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _is_text(value: Json, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and not value.isspace()


def _matches(pattern: re.Pattern[str]) -> Callable[[Json], bool]:
    return lambda value: isinstance(value, str) and pattern.match(value) is not None


def _checked(document: dict[str, Json]) -> AgentConfiguration:
    errors: list[tuple[str, str]] = []
    whole = _Section(document, "", errors)
    texts = {key: whole.required(key, longest) for key, longest in _REQUIRED.items()}
    language = _language(whole.section("language"))
    configuration = AgentConfiguration(
        **texts,
        voice=_voice(whole.section("voice"), language.supported),
        language=language,
        models=_models(whole.section("models")),
        automation=_automation(whole.section("automation")),
        parameters=_parameters(whole.section("parameters")),
        phone_integration=_phone_integration(whole.section("phone_integration")),
        extra={key: value for key, value in document.items() if key not in _KNOWN},
    )
    if errors:
        raise InvalidConfiguration(errors)
    return configuration


def _voice(section: _Section, supported: Collection[str]) -> Voice:
    by_language = section.section("by_language")
    _of_languages(by_language, supported)
    return Voice(
        model=section.text("model", Voice().model),
        style=section.text("style", ""),
        natural_speech=section.switch("natural_speech", True),
        emotion_control=section.text("emotion_control", ""),
        by_language=by_language.texts(),
        others=section.section("others").texts(),
    )


def _of_languages(section: _Section, supported: Collection[str]) -> None:
    for key in section.entries:
        if key not in supported:
            section.wrong(f"/{_escaped(key)}", "must be one of /language/supported")


def _language(section: _Section) -> Language:
    tag = _matches(_LANGUAGE)
    primary = section.read("primary", "en-US", tag, "a language tag such as en-US")
    supported = section.read(
        "supported", [primary], lambda value: isinstance(value, list) and bool(value) and all(map(tag, value)), "a list of language tags"
    )
    if primary not in supported:
        section.wrong("/supported", f"must have the primary language {primary} among its entries")
    return Language(
        primary=primary, auto_detect=section.switch("auto_detect", False), supported=tuple(supported),
        wording=_by_language(section.section("wording"), supported),
        pronunciation=_by_language(section.section("pronunciation"), supported),
    )  # fmt: skip


def _by_language(section: _Section, supported: Collection[str]) -> Mapping[str, Mapping[str, str]]:
    _of_languages(section, supported)
    return {key: section.section(key).texts(2_000) for key in section.entries}


def _models(section: _Section) -> Mapping[str, str]:
    return {tier: section.text(tier, "") for tier in _TIERS if tier in section.entries}


def _automation(section: _Section) -> Automation:
    return Automation(
        tools_enabled=section.switch("tools_enabled", False),
        max_tool_calls=section.whole("max_tool_calls", MOST_TOOL_CALLS, 0, MOST_TOOL_CALLS),
        async_workflows=section.switch("async_workflows", False),
    )


def _parameters(section: _Section) -> Parameters:
    usual = Parameters()
    return Parameters(
        max_response_time=section.whole("max_response_time", usual.max_response_time, 100, 60_000),
        interruption_threshold=section.share("interruption_threshold", usual.interruption_threshold),
        context_window=section.whole("context_window", usual.context_window, 1_000, 1_000_000),
        temperature=section.share("temperature", usual.temperature),
    )


def _phone_integration(section: _Section) -> PhoneIntegration:
    region = _matches(_REGION)
    return PhoneIntegration(
        type=section.read("type", "managed", lambda value: value in INTEGRATIONS, f"one of {', '.join(INTEGRATIONS)}"),
        region=section.read("region", "us-east-1", region, "a region such as us-east-1"),
        fallback_region=section.read("fallback_region", None, region, "a region such as us-west-2"),
    )
