"""Which admitted records a reader wants: told from key and headers alone, so that nothing else is ever decoded."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from events.headers import Kind
from events.records import RawRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """A record is wanted when every field that is given names it; a field that is empty asks nothing.

    `ce_types` as in the header (`consent-granted.v1`; an event that has had several versions has several), `categories` and `tenants`
    as in the key (`tenant/category/id`). Without `kinds` events are wanted: receipts and barriers are words among owners.
    """

    kinds: Collection[Kind] = (Kind.EVENT,)
    ce_types: Collection[str] = ()
    categories: Collection[str] = ()
    tenants: Collection[str] = ()

    def compiled(self) -> Callable[[RawRecord], bool]:
        """The same as one function, quick enough to be asked for each record."""
        kinds, ce_types = frozenset(self.kinds), frozenset(self.ce_types)
        categories = frozenset(category.encode() for category in self.categories)
        tenants = frozenset(tenant.encode() for tenant in self.tenants)

        def wanted(raw: RawRecord) -> bool:
            if ce_types and raw.ce_type not in ce_types:
                return False
            if categories or tenants:
                parts = raw.key.split(b"/", 2)
                if len(parts) != 3 or (tenants and parts[0] not in tenants) or (categories and parts[1] not in categories):
                    return False
            return not kinds or raw.kind in kinds

        return wanted
