"""Streams that are over leave memory before all others: as soon as the journal has them and nobody has asked for them of late."""

from itertools import islice

from commands.ownership.streams import Streams

KEPT = 16
"""So many of a partition's stay, for what comes right after an end."""
# A journal that is away lets them gather: they are not all looked at each time.
_LOOKS = 256


def wants_journal(streams: Streams) -> bool:
    """Whether there are enough of them to ask how far the journal is."""
    return len(streams.over) > 2 * KEPT


def retire(streams: Streams) -> None:
    """Forget the oldest. Not while a batch is under way: its streams must be here when it is confirmed."""
    if not wants_journal(streams):
        return
    for key in list(islice(streams.over, min(len(streams.over) - KEPT, _LOOKS))):
        stream = streams.get(key)
        if stream is None:
            del streams.over[key]
        elif stream.used:
            # Once round: who is not asked for until then goes.
            stream.used = False
            streams.over[key] = streams.over.pop(key)
        elif not stream.waits and stream.last_offset < streams.journaled:
            streams.forget(key)
