"""What a feature flag says."""

from commands.decider import NotFound
from commands.flags import FLAGS, FlagVariantMissing, RemoveFlag, SetFlag
from events.flags import FlagRemoved, FlagSet
from tests.given import given

SET = SetFlag(enabled=True, variant="short", description="a shorter greeting")
IS_SET = FlagSet(enabled=True, variant="short", description="a shorter greeting")


class TestSetFlag:
    def test_is_a_fact(self) -> None:
        given(FLAGS).when(SET).then(IS_SET)

    def test_changes_nothing_when_it_says_so_already(self) -> None:
        given(FLAGS, IS_SET).when(SET).then()

    def test_is_a_fact_for_another_value(self) -> None:
        given(FLAGS, IS_SET).when(SetFlag(enabled=False, variant="short")).then(FlagSet(enabled=False, variant="short"))

    def test_is_a_fact_again_after_its_removal(self) -> None:
        given(FLAGS, IS_SET, FlagRemoved()).when(SET).then(IS_SET)

    def test_is_refused_without_a_variant(self) -> None:
        given(FLAGS).when(SetFlag(enabled=True, variant=" ")).then_refused(FlagVariantMissing)


class TestRemoveFlag:
    def test_is_a_fact(self) -> None:
        given(FLAGS, IS_SET).when(RemoveFlag()).then(FlagRemoved())

    def test_is_refused_when_it_is_not_set(self) -> None:
        given(FLAGS).when(RemoveFlag()).then_refused(NotFound)
        given(FLAGS, IS_SET, FlagRemoved()).when(RemoveFlag()).then_refused(NotFound)
