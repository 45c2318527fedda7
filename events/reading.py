"""What a reader of the log has to reckon with, whichever floor it stands on."""


class LogAway(Exception):
    """The log did not answer. Nothing was appended, nothing will be."""


class HistoryLost(Exception):
    """The log begins above offset 0, or ends before what was read of it. A person must look: nothing is repaired by going on."""
