"""Why the tvm engine does not take a node."""

from __future__ import annotations


class Refused(Exception):  # a verdict, not a defect: the node goes to another engine
    """reason: what about the node is not compiled, in words that follow its name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
