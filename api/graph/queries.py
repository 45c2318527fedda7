"""Queries known by the SHA-256 of their text: those that programs bring themselves, or a list that alone is allowed."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

_REMEMBERED = 1_000


class QueryUnknown(Exception):
    """No text is known for the hash; where programs may bring one, they send it with the hash once."""


class QueryForbidden(Exception):
    """Only the queries of the installation's list are answered here."""


class KnownQueries:
    """`listed`: the only ones allowed; None: any, and who sends a text with its hash may send the hash alone from then on."""

    def __init__(self, listed: Mapping[str, str] | None = None) -> None:
        self._listed = listed
        self._brought: OrderedDict[str, str] = OrderedDict()

    def text(self, query: str | None, sha256: str | None) -> str:
        """The query to be run. Raises QueryUnknown, QueryForbidden, and ValueError where text and hash differ, or both are missing."""
        if query is not None and sha256 is not None and hashlib.sha256(query.encode()).hexdigest() != sha256:
            raise ValueError("the hash is not that of the query")
        if self._listed is not None:
            found = self._listed.get(sha256 or hashlib.sha256((query or "").encode()).hexdigest())
            if found is None:
                raise QueryForbidden("this installation answers only the queries of its list")
            return found
        if query is None:
            if sha256 is None:
                raise ValueError("there is no query")
            if sha256 not in self._brought:
                raise QueryUnknown("PersistedQueryNotFound")
            self._brought.move_to_end(sha256)
            return self._brought[sha256]
        if sha256 is not None:
            self._brought[sha256] = query
            while len(self._brought) > _REMEMBERED:
                self._brought.popitem(last=False)
        return query
