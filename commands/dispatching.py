"""Dispatch and watch within one process, which owns every partition of the topics it is given."""

from commands.routing.owners import Owners as LocalOwners

__all__ = ["LocalOwners"]
