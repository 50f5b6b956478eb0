"""A folder for what is needed for a moment, and an honest word when the disk it lies on is full."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neo.durable import translating_os_errors
from neo.errors import BundleError, DiskFull, EngineError, ModelError
from neo.isolation.exhaustion import disk_full, exhaustion, is_disk_full


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """-> an empty folder in TMPDIR, gone afterwards.

    Raises DiskFull, naming the folder, for an OSError of the body that says so, and for a model or an engine that the
    body calls damaged while nothing is free: a file that was cut short looks damaged to whoever reads it next.
    StoreError if TMPDIR cannot be written at all.
    """
    with translating_os_errors(Path(tempfile.gettempdir())):
        temporary = tempfile.TemporaryDirectory(prefix=prefix)
    with temporary as name:
        folder = Path(name)
        try:
            yield folder
        except OSError as error:
            if isinstance(exhaustion(str(error), error.errno), DiskFull):
                raise disk_full(folder) from error
            raise
        except (ModelError, EngineError, BundleError) as error:
            if is_disk_full(folder):
                raise disk_full(folder) from error
            raise
