"""Work on untrusted models in a process of its own, with limits on memory, time and file size, without network."""

from neo.isolation.call import confinement_here, isolated
from neo.isolation.confine import Confinement, Limits

__all__ = ["Confinement", "Limits", "confinement_here", "isolated"]
