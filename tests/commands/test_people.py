"""Who somebody is, and how long they stay signed in."""

from datetime import UTC, datetime, timedelta

from commands.decider import NotFound
from commands.people import (
    EMAILS,
    IDLE,
    LEEWAY,
    PEOPLE,
    SESSIONS,
    CodeUsed,
    EmailTaken,
    EnableTotp,
    EndSession,
    NoteFailedSignIn,
    OfferTotp,
    PersonExists,
    RefreshSession,
    RegisterPerson,
    RenamePerson,
    ReserveEmail,
    SessionOver,
    SignIn,
    TotpNotOffered,
)
from events.people import (
    EmailReserved,
    PersonRegistered,
    PersonRenamed,
    PersonSignedIn,
    SessionEnded,
    SessionOpened,
    SessionRefreshed,
    SignInFailed,
    TotpEnabled,
    TotpOffered,
)
from tests.given import given, sealed

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ADA = {"email": sealed("ada@example.com"), "email_ref": "r", "name": sealed("Ada"), "password": sealed("$argon2id$")}
REGISTERED = PersonRegistered(**ADA)  # type: ignore[arg-type]
OFFERED = TotpOffered(secret=sealed("GEZD"))
ENABLED = TotpEnabled(step=100, recovery=("a", "b"))
OPENED = SessionOpened(person_id="USR-1", methods=("password",), at=NOON, expires_at=NOON + timedelta(days=30))


class TestRegisterPerson:
    def test_is_done_once(self) -> None:
        given(PEOPLE).when(RegisterPerson(**ADA)).then(REGISTERED)  # type: ignore[arg-type]
        given(PEOPLE, REGISTERED).when(RegisterPerson(**ADA)).then()  # type: ignore[arg-type]
        other = RegisterPerson(**{**ADA, "password": sealed("another")})  # type: ignore[arg-type]
        given(PEOPLE, REGISTERED).when(other).then_refused(PersonExists)

    def test_comes_before_everything_else(self) -> None:
        given(PEOPLE).when(RenamePerson(name=sealed("Ada"))).then_refused(NotFound)
        given(PEOPLE, REGISTERED).when(RenamePerson(name=sealed("Eva"))).then(PersonRenamed(name=sealed("Eva")))


class TestSecondFactor:
    def test_is_proven_before_it_counts(self) -> None:
        enable = EnableTotp(step=100, recovery=("a", "b"))
        given(PEOPLE, REGISTERED).when(enable).then_refused(TotpNotOffered)
        given(PEOPLE, REGISTERED).when(OfferTotp(secret=sealed("GEZD"))).then(OFFERED)
        given(PEOPLE, REGISTERED, OFFERED).when(enable).then(ENABLED)
        given(PEOPLE, REGISTERED, OFFERED, ENABLED).when(enable).then()


class TestSignIn:
    def test_takes_each_code_once_and_none_that_is_older(self) -> None:
        history = (REGISTERED, OFFERED, ENABLED)
        first = SignIn(session_id="s1", methods=("totp",), step=101)
        fact = PersonSignedIn(session_id="s1", methods=("totp",), step=101)
        given(PEOPLE, *history).when(first).then(fact)
        given(PEOPLE, *history, fact).when(first).then()
        for step in (100, 101):
            again = SignIn(session_id="s2", methods=("totp",), step=step)
            given(PEOPLE, *history, fact).when(again).then_refused(CodeUsed)

    def test_takes_each_recovery_code_once(self) -> None:
        history = (REGISTERED, OFFERED, ENABLED)
        fact = PersonSignedIn(session_id="s1", methods=("recovery",), recovery="a")
        given(PEOPLE, *history).when(SignIn(session_id="s1", methods=("recovery",), recovery="a")).then(fact)
        given(PEOPLE, *history, fact).when(SignIn(session_id="s2", methods=("recovery",), recovery="a")).then_refused(CodeUsed)

    def test_is_not_by_the_password_alone_where_a_code_is_asked_for(self) -> None:
        plain = SignIn(session_id="s1", methods=("password",))
        given(PEOPLE, REGISTERED).when(plain).then(PersonSignedIn(session_id="s1", methods=("password",)))
        given(PEOPLE, REGISTERED, OFFERED, ENABLED).when(plain).then_refused(CodeUsed)


class TestEmail:
    def test_is_one_persons(self) -> None:
        given(EMAILS).when(ReserveEmail(person_id="USR-1")).then(EmailReserved(person_id="USR-1"))
        given(EMAILS, EmailReserved(person_id="USR-1")).when(ReserveEmail(person_id="USR-1")).then()
        given(EMAILS, EmailReserved(person_id="USR-1")).when(ReserveEmail(person_id="USR-2")).then_refused(EmailTaken)

    def test_remembers_who_could_not_sign_in_whether_or_not_it_is_anybodys(self) -> None:
        given(EMAILS).when(NoteFailedSignIn(at=NOON)).then(SignInFailed(at=NOON))
        given(EMAILS, EmailReserved(person_id="USR-1")).when(NoteFailedSignIn(at=NOON)).then(SignInFailed(at=NOON))


class TestSession:
    def test_goes_on_by_its_last_token(self) -> None:
        refresh = RefreshSession(generation=1, at=NOON + SECOND)
        given(SESSIONS, OPENED).when(refresh).then(SessionRefreshed(generation=2, at=NOON + SECOND))

    def test_has_the_same_answer_for_a_moment_and_then_ends_by_the_token_before(self) -> None:
        refreshed = SessionRefreshed(generation=2, at=NOON)
        given(SESSIONS, OPENED, refreshed).when(RefreshSession(generation=1, at=NOON + LEEWAY)).then()
        late = RefreshSession(generation=1, at=NOON + LEEWAY + SECOND)
        given(SESSIONS, OPENED, refreshed).when(late).then(SessionEnded(reason="token-reused"))

    def test_ends_at_once_by_one_that_is_older_still(self) -> None:
        history = (OPENED, SessionRefreshed(generation=2, at=NOON), SessionRefreshed(generation=3, at=NOON))
        given(SESSIONS, *history).when(RefreshSession(generation=1, at=NOON)).then(SessionEnded(reason="token-reused"))

    def test_is_over_when_it_was_ended_left_alone_or_is_too_old(self) -> None:
        ended = SessionEnded(reason="signed-out")
        given(SESSIONS, OPENED, ended).when(RefreshSession(generation=1, at=NOON)).then_refused(SessionOver)
        given(SESSIONS, OPENED).when(RefreshSession(generation=1, at=NOON + IDLE + SECOND)).then_refused(SessionOver)
        fresh = SessionRefreshed(generation=2, at=OPENED.expires_at - SECOND)
        given(SESSIONS, OPENED, fresh).when(RefreshSession(generation=2, at=OPENED.expires_at)).then_refused(SessionOver)

    def test_ends_once(self) -> None:
        given(SESSIONS, OPENED).when(EndSession(reason="signed-out")).then(SessionEnded(reason="signed-out"))
        given(SESSIONS, OPENED, SessionEnded(reason="signed-out")).when(EndSession(reason="password-changed")).then()
        given(SESSIONS).when(EndSession(reason="signed-out")).then_refused(NotFound)
