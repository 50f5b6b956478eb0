"""tuf-conformance against our client and fetcher. Not packaged: NEO_TUF_CONFORMANCE names a checkout.

https://github.com/theupdateframework/tuf-conformance; wants ``faketime`` and the package pytest-json-report.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = os.environ.get("NEO_TUF_CONFORMANCE")
TIMEOUT_S = 1800


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.skipif(CHECKOUT is None, reason="NEO_TUF_CONFORMANCE names no checkout")
def test_every_case_of_tuf_conformance_passes(tmp_path: Path) -> None:
    assert CHECKOUT is not None
    entry = tmp_path / "client"
    here = shlex.quote(str(Path.cwd()))
    entry.write_text(
        f'#!/bin/sh\nPYTHONPATH={here} exec {shlex.quote(sys.executable)} -m tests.trust.tuf.conformance_client "$@"\n'
    )
    entry.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tuf_conformance", "--entrypoint", str(entry)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
