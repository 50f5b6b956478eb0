"""What a fleet's TUF set costs a device: time and bytes of a refresh, memory, disk. python -m benchmarks.trust"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from neo.trust.tuf.client import TufClient
from neo.trust.tuf.keyfolder import ROLES, KeyFolder
from neo.trust.tuf.repository import Repository
from neo.trust.tuf.trusted import Release

RELEASES = 20
ROUNDS = 50
_AGENT = "import edge_agent.core.agent, edge_agent.install.deployment, neo.link, neo.trust, resource; "
_PEAK = "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = _repository(folder / "keys")
        timestamp, files = repository.published()
        device = TufClient(folder / "device", repository.root_bytes())
        first = _milliseconds(lambda: device.refresh(timestamp, files.files))
        same = statistics.median(_milliseconds(lambda: device.refresh(timestamp, files.files)) for _ in range(ROUNDS))
        renewed = []
        for _ in range(ROUNDS):
            repository.renew()
            newer, _ = repository.published()
            renewed.append(_milliseconds(lambda newer=newer: device.refresh(newer, {})))
        state = sum(path.stat().st_size for path in (folder / "device").rglob("*") if path.is_file())
        print(f"releases: {RELEASES}; timestamp {len(timestamp)} bytes, set {len(files.to_bytes())} bytes")
        print(f"first refresh {first:.1f} ms; the same timestamp again {same:.3f} ms, 0 bytes more than the timestamp")
        print(f"a renewed timestamp, nothing else new: {statistics.median(renewed):.1f} ms, {len(timestamp)} bytes")
        print(f"state folder {state} bytes")
        plain = _peak(_AGENT)
        with_tuf = _peak(_AGENT + _use(folder / "device"))
        grown = (with_tuf - plain) / 1024
        print(f"memory: {plain / 1024:.1f} MB without, {with_tuf / 1024:.1f} MB with TUF: +{grown:.1f} MB")
        sizes = {package: _size(package) for package in ("tuf", "urllib3")}
        print("disk:", ", ".join(f"{package} {size / 1e6:.2f} MB" for package, size in sizes.items()))


def _repository(folder: Path) -> Repository:
    keys = KeyFolder.create(folder, "default", str)
    for role in ROLES:
        keys.make(role, None)
    repository = Repository(keys)
    repository.create({})
    for number in range(RELEASES):
        repository.release(f"model:{number}-host", Release("sha256:" + "0" * 64, 1000))
    return repository


def _milliseconds(call: object) -> float:
    begun = time.perf_counter()
    call()  # type: ignore[operator]
    return (time.perf_counter() - begun) * 1e3


def _use(folder: Path) -> str:
    return (
        "from pathlib import Path; from neo.trust.tuf.client import TufClient; "
        f"TufClient(Path({str(folder)!r})).freshness; "
    )


def _peak(program: str) -> int:
    """KiB."""
    done = subprocess.run([sys.executable, "-c", program + _PEAK], capture_output=True, text=True, check=True)
    return int(done.stdout)


def _size(package: str) -> int:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return sum(path.stat().st_size for path in Path(spec.origin).parent.rglob("*.py"))


if __name__ == "__main__":
    main()
