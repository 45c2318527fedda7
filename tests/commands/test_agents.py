"""Who speaks for a business, and with which configuration."""

import json
from hashlib import sha256
from typing import Any

import pytest

from commands.agent_configuration import (
    AgentConfiguration,
    Automation,
    InvalidConfiguration,
    Language,
    Parameters,
    PhoneIntegration,
    Voice,
    canonical,
    read_configuration,
)
from commands.agents import (
    AGENTS,
    AgentExists,
    AgentNameMissing,
    BranchExists,
    CloseBranch,
    CreateAgent,
    MainBranch,
    NothingToBranchFrom,
    OpenBranch,
    PublishAgentVersion,
    PublishBranch,
    RenameAgent,
)
from commands.decider import NotFound
from events.agents import (
    AgentBranchClosed,
    AgentBranchOpened,
    AgentCreated,
    AgentRenamed,
    AgentVersionPublished,
    AgentVersionRecorded,
)
from tests.given import given

# The document that businesses are shown as an example; one line of theirs has a comment, which JSON does not.
DOCUMENT = """{
  "name": "Customer Support Agent",
  "version": "2.1.0",
  "system_prompt": "You are a helpful customer support agent for ACME Corp...",
  "voice": {"model": "aura-asteria-en", "style": "calm_informative", "natural_speech": true, "emotion_control": "moderate"},
  "language": {"primary": "en-US", "auto_detect": true, "supported": ["en-US", "es-ES", "fr-FR"]},
  "greeting": "Hello, thank you for calling ACME support. How can I help you today?",
  "models": {"default": "claude-3-5-sonnet-v2", "fast": "claude-3-5-haiku", "complex": "claude-3-7-sonnet"},
  "automation": {"tools_enabled": true, "max_tool_calls": 5, "async_workflows": true},
  "parameters": {"max_response_time": 1500, "interruption_threshold": 0.7, "context_window": 32000, "temperature": 0.3},
  "phone_integration": {"type": "managed", "region": "us-east-1", "fallback_region": "us-west-2"}
}"""
COMMENTED = DOCUMENT.replace('"managed",', '"managed", // "managed", "sip_trunk", "twilio"\n')
CREATED = AgentCreated(name="Support")
PUBLISH = PublishAgentVersion(label="blue", configuration=DOCUMENT)
KEPT = canonical(DOCUMENT)
PUBLISHED = AgentVersionPublished(version_hash=sha256(KEPT.encode()).hexdigest(), label="blue", configuration=KEPT)


def document(**changed: Any) -> str:
    return json.dumps({**json.loads(DOCUMENT), **changed})


def errors_of(text: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidConfiguration) as raised:
        read_configuration(text)
    return raised.value.errors


class TestCreateAgent:
    def test_is_a_fact(self) -> None:
        given(AGENTS).when(CreateAgent(name=" Support")).then(CREATED)

    def test_changes_nothing_when_it_is_said_again(self) -> None:
        given(AGENTS, CREATED, PUBLISHED).when(CreateAgent(name="Support")).then()

    def test_is_refused_for_another_agent_under_the_same_id(self) -> None:
        given(AGENTS, CREATED).when(CreateAgent(name="Sales")).then_refused(AgentExists)

    def test_is_refused_without_a_name(self) -> None:
        given(AGENTS).when(CreateAgent(name="")).then_refused(AgentNameMissing)


class TestPublishAgentVersion:
    def test_is_a_fact_named_by_its_hash(self) -> None:
        given(AGENTS, CREATED).when(PUBLISH).then(PUBLISHED)

    def test_changes_nothing_when_the_same_is_live_however_it_is_spelt(self) -> None:
        spelt = json.dumps(dict(reversed(json.loads(DOCUMENT).items())), indent=8)
        given(AGENTS, CREATED, PUBLISHED).when(PublishAgentVersion(label="green", configuration=spelt)).then()

    def test_is_a_fact_again_when_another_was_live_between(self) -> None:
        other = AgentVersionPublished(version_hash="ff", label="other", configuration="{}")
        given(AGENTS, CREATED, PUBLISHED, other).when(PUBLISH).then(PUBLISHED)

    def test_takes_the_documents_version_for_want_of_a_label(self) -> None:
        given(AGENTS, CREATED).when(PublishAgentVersion(label="", configuration=DOCUMENT)).then(
            AgentVersionPublished(version_hash=PUBLISHED.version_hash, label="2.1.0", configuration=KEPT)
        )

    def test_is_refused_for_an_agent_that_is_not_there(self) -> None:
        given(AGENTS).when(PUBLISH).then_refused(NotFound)

    def test_is_refused_with_a_pointer_to_what_is_wrong(self) -> None:
        wrong = PublishAgentVersion(label="blue", configuration=document(greeting=7))
        refusal = given(AGENTS, CREATED).when(wrong).then_refused(InvalidConfiguration)
        assert [pointer for pointer, _ in refusal.errors] == ["/greeting"]


class TestConfiguration:
    def test_is_read_whole(self) -> None:
        assert read_configuration(DOCUMENT) == AgentConfiguration(
            name="Customer Support Agent",
            version="2.1.0",
            system_prompt="You are a helpful customer support agent for ACME Corp...",
            greeting="Hello, thank you for calling ACME support. How can I help you today?",
            voice=Voice(model="aura-asteria-en", style="calm_informative", natural_speech=True, emotion_control="moderate"),
            language=Language(primary="en-US", auto_detect=True, supported=("en-US", "es-ES", "fr-FR")),
            models={"default": "claude-3-5-sonnet-v2", "fast": "claude-3-5-haiku", "complex": "claude-3-7-sonnet"},
            automation=Automation(tools_enabled=True, max_tool_calls=5, async_workflows=True),
            parameters=Parameters(max_response_time=1500, interruption_threshold=0.7, context_window=32_000, temperature=0.3),
            phone_integration=PhoneIntegration(type="managed", region="us-east-1", fallback_region="us-west-2"),
        )

    def test_keeps_keys_that_it_does_not_know(self) -> None:
        text = document(vocabulary=["Acme"], voice={"model": "aura-2-thalia-en", "pace": 1.1})
        assert read_configuration(text).extra == {"vocabulary": ["Acme"]}
        assert json.loads(canonical(text)) == json.loads(text)

    def test_has_defaults_for_sections_that_are_left_out(self) -> None:
        least = '{"name": "A", "version": "1", "system_prompt": "Help.", "greeting": "Hello."}'
        assert read_configuration(least).language.supported == ("en-US",)

    def test_names_every_error_at_once(self) -> None:
        wrong = {"automation": {"max_tool_calls": 6, "tools_enabled": "yes"}, "language": {"primary": "en-US", "supported": ["de-DE"]}}
        least = {"name": " ", "version": "1", "system_prompt": "Help.", **wrong}
        assert [pointer for pointer, _ in errors_of(json.dumps(least))] == [
            "/name", "/greeting", "/language/supported", "/automation/tools_enabled", "/automation/max_tool_calls",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("section", "key", "value"),
        [
            ("voice", "model", ""),
            ("voice", "natural_speech", 1),
            ("language", "primary", "english please"),
            ("language", "supported", []),
            ("language", "supported", "en-US"),
            ("models", "default", None),
            ("automation", "max_tool_calls", -1),
            ("automation", "max_tool_calls", True),
            ("parameters", "max_response_time", 99),
            ("parameters", "interruption_threshold", 1.1),
            ("parameters", "context_window", "32000"),
            ("parameters", "temperature", -0.1),
            ("phone_integration", "type", "carrier-pigeon"),
            ("phone_integration", "type", ["managed"]),
            ("phone_integration", "region", "US East"),
            ("phone_integration", "fallback_region", ""),
        ],
    )
    def test_points_to_a_value_that_does_not_fit(self, section: str, key: str, value: object) -> None:
        text = document(**{section: {**json.loads(DOCUMENT)[section], key: value}})
        assert [pointer for pointer, _ in errors_of(text)] == [f"/{section}/{key}"]

    def test_has_a_voice_and_words_for_each_language_that_it_speaks(self) -> None:
        voice = {"model": "aura-2-thalia-en", "by_language": {"es-ES": "aura-2-celeste-es"}, "others": {"calm": "aura-2-athena-en"}}
        language = {
            "primary": "en-US", "supported": ["en-US", "es-ES"], "wording": {"es-ES": {"still_there": "¿Sigue ahí?"}},
            "pronunciation": {"es-ES": {"SQL": "sequel"}},
        }  # fmt: skip
        found = read_configuration(document(voice=voice, language=language))
        assert (found.voice.by_language, found.voice.others) == (voice["by_language"], voice["others"])
        assert (found.language.wording, found.language.pronunciation) == (language["wording"], language["pronunciation"])

    def test_points_to_what_does_not_fit_in_a_language(self) -> None:
        voice = {"by_language": {"es": "aura-2-celeste-es", "en/US~": "x", "en-US": ""}, "others": {"calm": 1}}
        language = {
            "primary": "en-US",
            "wording": {"fr": {"greeting": "Bonjour."}, "en-US": {"greeting": 5}},
            "pronunciation": {"en-US": []},
        }
        assert [pointer for pointer, _ in errors_of(document(voice=voice, language=language))] == [
            "/language/wording/fr", "/language/wording/en-US/greeting", "/language/pronunciation/en-US", "/voice/by_language/es",
            "/voice/by_language/en~1US~0", "/voice/by_language/en-US", "/voice/others/calm",
        ]  # fmt: skip

    @pytest.mark.parametrize("section", ["voice", "language", "models", "automation", "parameters", "phone_integration"])
    def test_points_to_a_section_that_is_no_object(self, section: str) -> None:
        assert errors_of(document(**{section: ["x"]})) == [(f"/{section}", "must be an object")]

    @pytest.mark.parametrize(
        ("text", "detail"),
        [
            (COMMENTED, "JSON has no comments"),
            ("", "is not JSON"),
            ("[]", "must be an object"),
            ('{"name": "A", "name": "B"}', "twice"),
            ('{"a": NaN}', "NaN"),
            ('{"a": 1e999}', "1e999"),
            ('{"a": "\\ud800"}', "surrogate"),
            ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "longer than"),
            ('{"a": ' + "[" * 90_000 + "]" * 90_000 + "}", "nested"),
            ('{"a": ' + "9" * 5_000 + "}", "digits"),
        ],
    )
    def test_is_refused_where_it_is_no_document(self, text: str, detail: str) -> None:
        [(pointer, found)] = errors_of(text)
        assert pointer == ""
        assert detail in found

    def test_has_one_spelling(self) -> None:
        assert canonical('{"b": 1, "a": {"é": [1.50, null]}}') == '{"a":{"é":[1.5,null]},"b":1}'


class TestRenameAgent:
    def test_is_a_fact_once(self) -> None:
        given(AGENTS, CREATED).when(RenameAgent(name=" Front  desk ")).then(AgentRenamed(name="Front desk"))
        given(AGENTS, CREATED, AgentRenamed(name="Front desk")).when(RenameAgent(name="Front desk")).then()

    def test_is_refused_without_a_name(self) -> None:
        given(AGENTS, CREATED).when(RenameAgent(name=" ")).then_refused(AgentNameMissing)


OTHER = document(version="3")
OPENED = AgentBranchOpened(branch="try", version_hash=PUBLISHED.version_hash)
RECORDED = AgentVersionRecorded(
    branch="try", version_hash=sha256(canonical(OTHER).encode()).hexdigest(), label="3", configuration=canonical(OTHER)
)


class TestBranches:
    def test_begin_at_what_is_live(self) -> None:
        given(AGENTS, CREATED, PUBLISHED).when(OpenBranch(branch="try")).then(OPENED)

    def test_begin_at_the_newest_of_another_branch(self) -> None:
        deeper = AgentBranchOpened(branch="deeper", version_hash=RECORDED.version_hash)
        given(AGENTS, CREATED, PUBLISHED, OPENED, RECORDED).when(OpenBranch(branch="deeper", base="try")).then(deeper)

    def test_begin_at_a_version(self) -> None:
        given(AGENTS, CREATED).when(OpenBranch(branch="try")).then_refused(NothingToBranchFrom)
        given(AGENTS, CREATED, PUBLISHED).when(OpenBranch(branch="try", base="nowhere")).then_refused(NotFound)

    def test_are_opened_once_unless_they_were_closed(self) -> None:
        given(AGENTS, CREATED, PUBLISHED, OPENED).when(OpenBranch(branch="try")).then_refused(BranchExists)
        given(AGENTS, CREATED, PUBLISHED, OPENED, AgentBranchClosed(branch="try")).when(OpenBranch(branch="try")).then(OPENED)

    def test_take_versions_that_do_not_go_live(self) -> None:
        on_branch = PublishAgentVersion(label="", configuration=OTHER, branch="try")
        given(AGENTS, CREATED, PUBLISHED, OPENED).when(on_branch).then(RECORDED)
        given(AGENTS, CREATED, PUBLISHED, OPENED, RECORDED).when(on_branch).then()
        given(AGENTS, CREATED, PUBLISHED).when(on_branch).then_refused(NotFound)

    def test_go_live_when_they_are_published(self) -> None:
        live = AgentVersionPublished(version_hash=RECORDED.version_hash, label="3", configuration=RECORDED.configuration)
        given(AGENTS, CREATED, PUBLISHED, OPENED, RECORDED).when(PublishBranch(branch="try")).then(live)
        given(AGENTS, CREATED, PUBLISHED, OPENED, RECORDED, live).when(PublishBranch(branch="try")).then()
        given(AGENTS, CREATED, PUBLISHED, OPENED).when(PublishBranch(branch="try")).then()

    def test_are_closed_and_gone(self) -> None:
        given(AGENTS, CREATED, PUBLISHED, OPENED).when(CloseBranch(branch="try")).then(AgentBranchClosed(branch="try"))
        given(AGENTS, CREATED, PUBLISHED).when(CloseBranch(branch="try")).then_refused(NotFound)

    @pytest.mark.parametrize("command", [OpenBranch(branch="main"), PublishBranch(branch="main"), CloseBranch(branch="main")])
    def test_leave_the_main_one_alone(self, command: OpenBranch | PublishBranch | CloseBranch) -> None:
        given(AGENTS, CREATED, PUBLISHED).when(command).then_refused(MainBranch)
