"""Our TUF client and fetcher behind the command line that tuf-conformance drives (its CLIENT-CLI.md).

The suite is not packaged: a checkout is named in NEO_TUF_CONFORMANCE, see ``test_conformance.py``. It serves files by
HTTP and looks at those that the client keeps; ours are copied out of its durable folder for that.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tuf.ngclient import UpdaterConfig

from neo.errors import NeoError, TrustError
from neo.trust.tuf.client import CURRENT, TufClient, updating
from neo.trust.tuf.clock import now

MOST_BYTES = 6 << 20


class HttpFiles(Mapping[str, bytes]):
    """What a message would bring, fetched when it is asked for. Targets have paths, metadata has names."""

    def __init__(self, metadata_url: str, targets_url: str) -> None:
        self._urls = (metadata_url.rstrip("/"), targets_url.rstrip("/"))
        self._known: dict[str, bytes | None] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._known:
            base = self._urls[1] if name.startswith("targets/") else self._urls[0]
            try:
                with urllib.request.urlopen(f"{base}/{name.removeprefix('targets/')}", timeout=10) as answer:  # noqa: S310
                    self._known[name] = answer.read(MOST_BYTES)
            except urllib.error.HTTPError as error:
                if error.code not in (403, 404):
                    raise
                self._known[name] = None
        data = self._known[name]
        if data is None:
            raise KeyError(name)
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args()
    folder = given.metadata_dir / "neo"
    if given.command == "init":
        shutil.copyfile(given.trusted_root, given.metadata_dir / "root.json")
        return 0
    root = (given.metadata_dir / "root.json").read_bytes()
    if (folder / CURRENT).exists():
        TufClient(folder, root)  # what a start of the device does: the folder has to be readable
    files = HttpFiles(given.metadata_url, given.target_base_url)
    try:
        with updating(
            folder, files, root=root, clock=now(), limits=UpdaterConfig(), targets=given.target_dir
        ) as updater:
            updater.refresh()
            for name in given.target_name:
                target = updater.get_targetinfo(name)
                if target is None:
                    raise TrustError(f"no target {name}")
                if updater.find_cached_target(target) is None:
                    updater.download_target(target, target_base_url="neo:/targets")
    except NeoError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    finally:
        for path in (folder / CURRENT).glob("*.json"):
            (given.metadata_dir / path.name).unlink(missing_ok=True)
            shutil.copyfile(path, given.metadata_dir / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
