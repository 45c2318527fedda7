"""Who may what, folded in memory: people, sessions, memberships, roles and programs, so that nobody waits for a database to be let in."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from projections.credentials import CLIENTS, Client
from projections.memberships import INVITATIONS, MEMBERSHIPS, ROLES, Invitation, Membership, Role
from projections.organisations import ORGANISATIONS, Organisation
from projections.people import PEOPLE, SESSIONS, Person, Session
from projections.table import Key, Table

ACCESS: tuple[Table[Any], ...] = (PEOPLE, SESSIONS, MEMBERSHIPS, INVITATIONS, ROLES, CLIENTS)
"""What is followed for this alone."""
# A tree is as deep as its makers made it; a chain that is longer than this is nobody's organisation.
_DEEPEST = 16


class Access:
    """Indices over rows that somebody else folds and hands in by `put`."""

    def __init__(self) -> None:
        self._rows: dict[Table[Any], dict[str, Any]] = {table: {} for table in (PEOPLE, SESSIONS, INVITATIONS, CLIENTS)}
        self._by_email: dict[str, str] = {}
        self._sessions_of: defaultdict[str, set[str]] = defaultdict(set)
        self._memberships: defaultdict[str, dict[str, Membership]] = defaultdict(dict)
        self._owners: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._roles: dict[Key, Role] = {}
        self._organisations: dict[str, Organisation] = {}

    def person(self, person_id: str) -> Person | None:
        found: Person | None = self._rows[PEOPLE].get(person_id)
        return found

    def person_by_email(self, email_ref: str) -> Person | None:
        """By the keyed hash of an address."""
        return self.person(self._by_email.get(email_ref, ""))

    def session(self, session_id: str) -> Session | None:
        """One that nobody ended; its time may be over."""
        found: Session | None = self._rows[SESSIONS].get(session_id)
        return found

    def sessions_of(self, person_id: str) -> Sequence[Session]:
        """In the order of their ids."""
        return [self._rows[SESSIONS][each] for each in sorted(self._sessions_of.get(person_id, ()))]

    def invitation(self, invitation_id: str) -> Invitation | None:
        found: Invitation | None = self._rows[INVITATIONS].get(invitation_id)
        return found

    def membership(self, organisation_id: str, person_id: str) -> Membership | None:
        """Also one that has ended."""
        return self._memberships.get(person_id, {}).get(organisation_id)

    def memberships_of(self, person_id: str) -> Sequence[Membership]:
        """Those that stand, in the order of the organisations' ids."""
        return [each for _, each in sorted(self._memberships.get(person_id, {}).items()) if each.ended_at is None]

    def ever_in(self, person_id: str) -> Sequence[str]:
        """The organisations of which the person is a member or once was, in order."""
        return sorted(self._memberships.get(person_id, {}))

    def owners_of(self, organisation_id: str) -> Sequence[tuple[str, int]]:
        """Who belongs to it as an owner, each with the version of their membership."""
        return sorted(self._owners.get(organisation_id, {}).items())

    def role(self, organisation_id: str, name: str) -> Role | None:
        """A role of the organisation's own; also one that was removed, which gives nothing."""
        return self._roles.get((organisation_id, name))

    def client(self, client_id: str) -> Client | None:
        """Also one that was removed."""
        found: Client | None = self._rows[CLIENTS].get(client_id)
        return found

    def organisation(self, organisation_id: str) -> Organisation | None:
        return self._organisations.get(organisation_id)

    def upwards(self, organisation_id: str) -> Iterator[str]:
        """The organisation, then its parent, and so on to the root."""
        for _ in range(_DEEPEST):
            found = self._organisations.get(organisation_id)
            if found is None:
                return
            yield organisation_id
            organisation_id = found.parent_id

    def put(self, table: Table[Any], key: Key, row: Any) -> None:
        """A row as it is now; None: there is none any more. Rows of other tables are left alone."""
        if table is ORGANISATIONS:
            self._organisations[key[1]] = row
        elif table is MEMBERSHIPS:
            self._memberships[key[1]][key[0]] = row
            self._owners[key[0]].pop(key[1], None)
            if row.role == "owner" and row.ended_at is None:
                self._owners[key[0]][key[1]] = row.version
        elif table is ROLES:
            self._roles[key] = row
        elif table in self._rows:
            self._keep(table, key[1], row)

    def _keep(self, table: Table[Any], row_id: str, row: Any) -> None:
        before = self._rows[table].pop(row_id, None)
        if row is not None:
            self._rows[table][row_id] = row
        if table is PEOPLE and row is not None:
            self._by_email[row.email_ref] = row_id
        elif table is SESSIONS:
            person_id = (row or before).person_id if row or before else ""
            self._sessions_of[person_id].discard(row_id)
            if row is not None:
                self._sessions_of[person_id].add(row_id)
            if not self._sessions_of[person_id]:
                del self._sessions_of[person_id]
