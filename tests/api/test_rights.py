"""What roles give, and the one judgement over keys and people."""

import pytest

from api.rights import BUILT_IN, SELF, Rights, Role, judge, rights_of
from api.scopes import RESOURCES, SCOPES
from events.memberships import Grant


def role(*grants: Grant) -> Role:
    return Role(name="r", description="", grants=grants)


class TestRightsOf:
    def test_no_role_are_oneself_and_nothing_more(self) -> None:
        for roles in ([], [None], [role(Grant(scope="calls:read", resources=("call_1",)))]):
            rights = rights_of(roles)
            assert rights.scopes == (SELF,)
            assert not judge(rights, "calls:read", None)

    def test_an_owner_are_everything(self) -> None:
        rights = rights_of([None, BUILT_IN["owner"]])
        assert all(judge(rights, scope, None) for scope in SCOPES)

    def test_several_roles_are_theirs_together(self) -> None:
        rights = rights_of([role(Grant(scope="calls:read")), role(Grant(scope="agents:write", resources=("agt_1",)))])
        assert judge(rights, "calls:read", "call_1")
        assert judge(rights, "agents:write", "agt_1")
        assert not judge(rights, "agents:write", "agt_2")


class TestBuiltIn:
    def test_roles_name_scopes_that_there_are(self) -> None:
        assert {grant.scope for each in BUILT_IN.values() for grant in each.grants} <= SCOPES

    def test_auditor_reads_everything_and_changes_nothing_but_what_is_its_own(self) -> None:
        rights = rights_of([BUILT_IN["auditor"]])
        assert all(judge(rights, f"{resource}:read", None) for resource in RESOURCES)
        assert [each for each in RESOURCES if judge(rights, f"{each}:write", None)] == ["people"]


class TestJudge:
    @pytest.mark.parametrize(
        ("scope", "thing", "allowed"),
        [
            ("flags:read", "lamp", True), ("flags:write", "lamp", True), ("flags:write", "horn", False), ("flags:write", None, False),
            ("calls:read", "lamp", False),
        ],
    )  # fmt: skip
    def test_lets_whoever_may_change_a_thing_read_it_and_no_other(self, scope: str, thing: str | None, allowed: bool) -> None:
        rights = Rights(scopes=(SELF,), limited={"flags:write": frozenset({"lamp"})})
        assert judge(rights, scope, thing) is allowed
