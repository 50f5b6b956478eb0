"""Measured configurations of kernels, for whoever lists, exports and imports them. No compiler is needed for that.

The tvm engine's backend for processors is the only one that measures; another one's documents would come in here.
"""

from neo.engines.tvm.cpu.tuning.cache import Cache, Document, Key, cache_at, documents_to_bytes, read_documents

__all__ = ["Cache", "Document", "Key", "cache_at", "documents_to_bytes", "read_documents"]
