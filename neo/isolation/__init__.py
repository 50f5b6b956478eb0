"""Work on untrusted models in a process of its own, with limits on memory, time and file size, without network."""

from neo.isolation.call import isolated
from neo.isolation.confine import Limits

__all__ = ["Limits", "isolated"]
