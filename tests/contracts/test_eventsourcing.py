"""The `eventsourcing` library's own test cases, imported from its installed package, hold on our log.

One partition carries an application, so its events have one order, and what is saved together is one commit: none of the cases has to
be left out. Where our log is stricter than they ask stands under "Nearest".
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from unittest import TestCase
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import DataError, InfrastructureFactoryError, IntegrityError, ProcessRecorder, StoredEvent, Tracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment, get_topic

from infra.adapters.eventsourcing_log import index
from infra.adapters.eventsourcing_log.lodging import Lodging
from infra.adapters.eventsourcing_log.persistence import Factory
from infra.adapters.eventsourcing_log.recorders import (
    LogAggregateRecorder,
    LogApplicationRecorder,
    LogProcessRecorder,
    LogTrackingRecorder,
)

MODULE = "infra.adapters.eventsourcing_log.persistence"


def environment(kafka: str, prefix: str) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": MODULE,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_SURROUNDINGS": "local",
    }


class OnOurLog(TestCase):
    """Topics of its own for each test."""

    @pytest.fixture(autouse=True)
    def _corner(self, kafka: str, unique: str) -> None:
        self.env = Environment("guest", environment(kafka, unique))

    def opened(self) -> Factory:
        factory = Factory(self.env)
        self.addCleanup(factory.close)
        return factory


class TestAggregateRecorder(OnOurLog, persistence.AggregateRecorderTestCase):
    def create_recorder(self) -> LogAggregateRecorder:
        return self.opened().aggregate_recorder()


class TestApplicationRecorder(OnOurLog, persistence.ApplicationRecorderTestCase[LogApplicationRecorder]):
    def create_recorder(self) -> LogApplicationRecorder:
        return self.opened().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNotificationIds(OnOurLog, persistence.NonInterleavingNotificationIDsBaseCase):
    def setUp(self) -> None:
        self.recorder = self.opened().application_recorder()

    def create_recorder(self) -> LogApplicationRecorder:
        return self.recorder


class TestTrackingRecorder(OnOurLog, persistence.TrackingRecorderTestCase):
    def create_recorder(self) -> LogTrackingRecorder:
        return self.opened().tracking_recorder()


class TestProcessRecorder(OnOurLog, persistence.ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.opened().process_recorder()


class AnotherTrackingRecorder(LogTrackingRecorder):
    """A user's own."""


class TestFactory(OnOurLog, persistence.InfrastructureFactoryTestCase[Factory]):
    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[LogAggregateRecorder]:
        return LogAggregateRecorder

    def expected_application_recorder_class(self) -> type[LogApplicationRecorder]:
        return LogApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[LogTrackingRecorder]:
        return LogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[LogTrackingRecorder]:
        return AnotherTrackingRecorder

    def expected_process_recorder_class(self) -> type[LogProcessRecorder]:
        return LogProcessRecorder


class RememberedFactory(Factory):
    """The library's cases leave their applications open."""

    opened: ClassVar[list[Factory]] = []

    def __init__(self, env: Environment | None) -> None:
        super().__init__(env)
        self.opened.append(self)


class InOurEnvironment(TestCase):
    """For cases that make their applications themselves."""

    env: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def _environment(self, kafka: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for name, value in (environment(kafka, unique) | {"PERSISTENCE_MODULE": get_topic(RememberedFactory)}).items():
            monkeypatch.setenv(name, value)
        yield
        while RememberedFactory.opened:
            RememberedFactory.opened.pop().close()


class TestExampleApplication(InOurEnvironment, application.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(RememberedFactory)


# One case counts the warnings that another name for the notification log brings.
@pytest.mark.filterwarnings("default::DeprecationWarning")
class TestApplication(InOurEnvironment, application.ApplicationTestCase):
    pass


class TestEventSourcedProjection(InOurEnvironment, projection.EventSourcedProjectionTestCase):
    """What follows from an application's events is a second application here: its events and its progress are one commit."""


class CountersView(POPOTrackingRecorder, projection.EventCountersView):
    """A view that lies elsewhere, as views do."""

    def __init__(self) -> None:
        super().__init__()
        self.created = self.subsequent = 0

    def get_created_event_counter(self) -> int:
        return self.created

    def get_subsequent_event_counter(self) -> int:
        return self.subsequent

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self.insert_tracking(tracking)
        self.created += 1

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self.insert_tracking(tracking)
        self.subsequent += 1


class TestProjection(InOurEnvironment, projection.AggregateEventCountersProjectionTestCase):
    view_class = CountersView
    env: ClassVar[dict[str, str]] = {"EVENTCOUNTERS_PERSISTENCE_MODULE": "eventsourcing.popo"}


class Account(Aggregate):
    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    @event("Moved")
    def move(self, cents: int) -> None:
        self.balance += cents


class Accounts(Application[UUID]):
    def open(self, owner: str) -> UUID:
        account = Account(owner)
        self.save(account)
        return account.id

    def transfer(self, source: UUID, target: UUID, cents: int) -> None:
        giving, taking = self.account(source), self.account(target)
        giving.move(-cents)
        taking.move(cents)
        self.save(giving, taking)

    def account(self, account_id: UUID) -> Account:
        found: Account = self.repository.get(account_id)
        return found


@pytest.fixture
def accounts(kafka: str, unique: str) -> Iterator[Accounts]:
    with Accounts(environment(kafka, unique)) as accounts:
        yield accounts


@pytest.fixture
def elsewhere(accounts: Accounts) -> Iterator[Accounts]:
    """The same application in another process: it has nothing in common with the first but the log."""
    with Accounts(dict(accounts.env)) as elsewhere:
        yield elsewhere


class TestAccounts:
    def test_are_the_same_after_a_restart(self, accounts: Accounts) -> None:
        ann, bob = accounts.open("Ann"), accounts.open("Bob")
        accounts.transfer(ann, bob, 250)
        accounts.close()
        with Accounts(dict(accounts.env)) as again:
            assert [again.account(each).balance for each in (ann, bob)] == [-250, 250]
            again.transfer(ann, bob, 250)
            assert again.account(ann).version == 3

    def test_that_are_saved_together_are_one_commit(self, accounts: Accounts, elsewhere: Accounts) -> None:
        ann, bob = accounts.open("Ann"), accounts.open("Bob")
        stale, fresh = accounts.account(ann), accounts.account(bob)
        accounts.transfer(ann, bob, 1)
        stale.move(-7)
        carl = Account("Carl")
        with pytest.raises(IntegrityError):
            accounts.save(carl, stale)
        with pytest.raises(AggregateNotFoundError):
            elsewhere.account(carl.id)
        assert fresh.balance == 0
        assert elsewhere.account(ann).balance == -1

    @pytest.mark.parametrize("reachable", [False, True], ids=["taking-turns", "one-asks-the-other"])
    def test_are_written_by_two_processes_without_a_loss(self, kafka: str, unique: str, tmp_path: Path, *, reachable: bool) -> None:
        env = environment(kafka, unique) | ({"PEER_IDENTITY_FOLDER": str(tmp_path / "peers")} if reachable else {})
        with Accounts(env) as accounts, Accounts(env) as elsewhere:
            ann = accounts.open("Ann")

            def insist(at: Accounts) -> None:
                while True:
                    account = at.account(ann)
                    account.move(1)
                    try:
                        at.save(account)
                    except IntegrityError:
                        continue
                    return

            for at in (elsewhere, accounts, elsewhere):
                insist(at)
            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(insist, accounts) for _ in range(12)]:
                    done.result()
            assert [at.account(ann).balance for at in (accounts, elsewhere)] == [15, 15]
            ids = [notification.id for notification in elsewhere.recorder.select_notifications(1, 100)]
            assert ids == list(range(1, 17))
            first, last = accounts.events.recorder, elsewhere.events.recorder
            assert isinstance(first, LogApplicationRecorder)
            assert isinstance(last, LogApplicationRecorder)
            terms = {recorder.residence.ask(Lodging.term) for recorder in (first, last)}
            assert (terms == {1}) is reachable

    def test_are_followed_elsewhere_as_they_change(self, accounts: Accounts, elsewhere: Accounts) -> None:
        with elsewhere.recorder.subscribe(gt=1) as following:
            ann, bob = accounts.open("Ann"), accounts.open("Bob")
            accounts.transfer(ann, bob, 5)
            seen = [next(following) for _ in range(3)]
            assert [(each.id, each.originator_id, each.originator_version) for each in seen] == [(2, bob, 1), (3, ann, 2), (4, bob, 2)]

    def test_have_snapshots(self, accounts: Accounts) -> None:
        with Accounts(dict(accounts.env) | {"IS_SNAPSHOTTING_ENABLED": "y"}) as kept:
            ann, bob = kept.open("Ann"), kept.open("Bob")
            for version in (1, 3):
                kept.transfer(ann, bob, 1)
                kept.transfer(ann, bob, 1)
                kept.take_snapshot(ann, version=version)
            assert kept.snapshots is not None
            assert [snapshot.originator_version for snapshot in kept.snapshots.get(ann)] == [1, 3]
            assert kept.account(ann).balance == -4

    def test_are_read_again_from_the_log_when_they_are_no_longer_at_hand(
        self, accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index, "_AT_HAND", 3)
        opened = [accounts.open(f"owner {number}") for number in range(100)]
        for number in range(0, 100, 9):
            accounts.transfer(opened[number], opened[number - 1], number)
        for at in (accounts, elsewhere):
            assert [at.account(each).owner for each in opened] == [f"owner {number}" for number in range(100)]
            assert [each.id for each in at.recorder.select_notifications(1, 200)] == list(range(1, 125))


class TestNearest:
    def test_a_gap_in_an_aggregates_events_is_refused_where_a_database_would_take_it(self, accounts: Accounts) -> None:
        aggregate = uuid4()
        accounts.recorder.insert_events([StoredEvent(aggregate, 1, "topic", b"one")])
        with pytest.raises(IntegrityError, match="gap"):
            accounts.recorder.insert_events([StoredEvent(aggregate, 3, "topic", b"three")])
        with pytest.raises(IntegrityError, match="cannot be stored any more"):
            accounts.recorder.insert_events([StoredEvent(aggregate, 0, "topic", b"none")])

    def test_what_does_not_fit_one_batch_is_refused_before_it_is_sent(self, accounts: Accounts) -> None:
        aggregate = uuid4()
        with pytest.raises(DataError, match="do not fit"):
            accounts.recorder.insert_events([StoredEvent(aggregate, 1, "topic", bytes(2_000_000))])
        assert accounts.recorder.max_notification_id() is None


class TestEnvironment:
    def test_that_names_no_log_is_refused(self) -> None:
        with pytest.raises(InfrastructureFactoryError, match="KAFKA_BOOTSTRAP_SERVERS"):
            Accounts({"PERSISTENCE_MODULE": MODULE})

    def test_whose_log_is_away_is_refused(self) -> None:
        with pytest.raises(InfrastructureFactoryError, match="does not answer"):
            Accounts(environment("127.0.0.1:9", "none"))

    def test_that_expects_more_replicas_than_there_are_is_refused(self, kafka: str, unique: str) -> None:
        with pytest.raises(InfrastructureFactoryError, match=r"replicas|replication"):
            Accounts(environment(kafka, unique) | {"KAFKA_SURROUNDINGS": "production"})
