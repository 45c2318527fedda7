"""Who is told what happens, from where on, and who may say how far they are."""

from dataclasses import replace
from datetime import UTC, datetime

from commands.decider import NotFound
from commands.webhooks import (
    WEBHOOKS,
    AddWebhook,
    ChangeWebhook,
    DisableWebhook,
    EnableWebhook,
    OutOfTurn,
    PingWebhook,
    RecordDeliveries,
    RemoveWebhook,
    RewindWebhook,
    RotateWebhookSecret,
    WebhookExists,
    WebhookOff,
)
from events.webhooks import (
    Attempt,
    WebhookAdded,
    WebhookChanged,
    WebhookDeliveriesMade,
    WebhookDisabled,
    WebhookEnabled,
    WebhookPingAsked,
    WebhookRemoved,
    WebhookRewound,
    WebhookSecretRotated,
)
from tests.given import given

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ADD = AddWebhook(url="https://example.com/a", types=("call-ended",), description="", secret=b"s1")
ADDED = WebhookAdded(url="https://example.com/a", types=("call-ended",), description="", secret=b"s1")
TAKEN = Attempt(event="e-0", at=NOW, took_ms=7, status=200)
MADE = WebhookDeliveriesMade(after="v1", delivered=1, failures=0, failing_since=None, attempts=(TAKEN,))
RECORD = RecordDeliveries(turn=0, after="v1", delivered=1, failures=0, failing_since=None, attempts=(TAKEN,))


class TestAddWebhook:
    def test_is_a_fact_once(self) -> None:
        given(WEBHOOKS).when(ADD).then(ADDED)
        given(WEBHOOKS, ADDED).when(ADD).then()

    def test_is_refused_for_another_under_its_id(self) -> None:
        given(WEBHOOKS, ADDED).when(replace(ADD, url="https://example.com/b")).then_refused(WebhookExists)
        given(WEBHOOKS, ADDED, WebhookRemoved()).when(ADD).then_refused(WebhookExists)


class TestChangeWebhook:
    def test_keeps_what_it_does_not_name(self) -> None:
        changed = WebhookChanged(url="https://example.com/b", types=("call-ended",), description="")
        given(WEBHOOKS, ADDED).when(ChangeWebhook(url="https://example.com/b")).then(changed)
        given(WEBHOOKS, ADDED).when(ChangeWebhook(types=("call-ended",))).then()

    def test_is_refused_where_there_is_none(self) -> None:
        given(WEBHOOKS).when(ChangeWebhook()).then_refused(NotFound)
        given(WEBHOOKS, ADDED, WebhookRemoved()).when(RemoveWebhook()).then_refused(NotFound)


class TestRotateWebhookSecret:
    def test_keeps_the_one_before_for_a_while(self) -> None:
        rotated = WebhookSecretRotated(secret=b"s2", old_until=NOW)
        given(WEBHOOKS, ADDED).when(RotateWebhookSecret(secret=b"s2", old_until=NOW)).then(rotated)
        state = given(WEBHOOKS, ADDED, rotated).state
        assert state is not None
        assert (state.secret, state.old_secret, state.old_until) == (b"s2", b"s1", NOW)


class TestPingWebhook:
    def test_is_a_fact_once(self) -> None:
        given(WEBHOOKS, ADDED).when(PingWebhook(ping="p")).then(WebhookPingAsked(ping="p"))
        given(WEBHOOKS, ADDED, WebhookPingAsked(ping="p")).when(PingWebhook(ping="p")).then()

    def test_is_refused_where_nothing_is_sent(self) -> None:
        given(WEBHOOKS, ADDED, WebhookDisabled(because="asked")).when(PingWebhook(ping="p")).then_refused(WebhookOff)


class TestRewindWebhook:
    def test_begins_anew_at_that_time(self) -> None:
        rewound = WebhookRewound(order="o", since=NOW)
        given(WEBHOOKS, ADDED, MADE).when(RewindWebhook(order="o", since=NOW)).then(rewound)
        state = given(WEBHOOKS, ADDED, MADE, rewound).state
        assert state is not None
        assert (state.after, state.since) == ("", NOW)


class TestRecordDeliveries:
    def test_is_a_fact_of_whoever_is_in_turn(self) -> None:
        given(WEBHOOKS, ADDED).when(RECORD).then(MADE)
        given(WEBHOOKS, ADDED, MADE).when(replace(RECORD, turn=1, attempts=(), after="v2")).then(replace(MADE, after="v2", attempts=()))

    def test_is_refused_after_what_its_sender_has_not_seen(self) -> None:
        # Another one sent meanwhile; it was sent back; it was switched off and on; it has another address, or wants to know of more.
        elsewhere = WebhookChanged(url="https://example.com/b", types=("call-ended",), description="")
        more = WebhookChanged(url=ADDED.url, types=("call-ended", "call-answered"), description="")
        switched = (WebhookDisabled(because="asked"), WebhookEnabled())
        for seen in ((MADE,), (WebhookRewound(order="o", since=NOW),), switched, (elsewhere,), (more,)):
            given(WEBHOOKS, ADDED, *seen).when(RECORD).then_refused(OutOfTurn)

    def test_is_a_fact_where_only_the_words_about_it_were_changed(self) -> None:
        described = WebhookChanged(url=ADDED.url, types=ADDED.types, description="Ours.")
        given(WEBHOOKS, ADDED, described).when(RECORD).then(MADE)

    def test_is_refused_where_nothing_may_be_sent(self) -> None:
        given(WEBHOOKS, ADDED, WebhookDisabled(because="asked")).when(replace(RECORD, turn=1)).then_refused(OutOfTurn)

    def test_leaves_the_place_where_it_was_while_the_next_is_not_taken(self) -> None:
        failed = replace(MADE, after="", failures=1, failing_since=NOW)
        state = given(WEBHOOKS, ADDED, MADE, failed).state
        assert state is not None
        assert (state.after, state.failures, state.failing_since) == ("v1", 1, NOW)


class TestDisableWebhook:
    def test_is_a_fact_once(self) -> None:
        given(WEBHOOKS, ADDED).when(DisableWebhook(because="asked")).then(WebhookDisabled(because="asked"))
        given(WEBHOOKS, ADDED, WebhookDisabled(because="gone")).when(DisableWebhook(because="asked")).then()

    def test_is_refused_to_a_sender_who_gave_up_what_was_taken_up_anew(self) -> None:
        rewound = WebhookRewound(order="o", since=NOW)
        given(WEBHOOKS, ADDED, rewound).when(DisableWebhook(because="failing", turn=0)).then_refused(OutOfTurn)


class TestEnableWebhook:
    def test_goes_on_from_where_it_stopped(self) -> None:
        history = (ADDED, MADE, replace(MADE, after="", failures=9, failing_since=NOW), WebhookDisabled(because="failing"))
        given(WEBHOOKS, *history).when(EnableWebhook()).then(WebhookEnabled())
        state = given(WEBHOOKS, *history, WebhookEnabled()).state
        assert state is not None
        assert (state.after, state.failures, state.enabled) == ("v1", 0, True)
