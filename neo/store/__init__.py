"""Blobs by digest in an OCI image layout: the same store on the build host and on the device."""

from neo.store.ingest import Ingest
from neo.store.layout import Store, is_store

__all__ = ["Ingest", "Store", "is_store"]
