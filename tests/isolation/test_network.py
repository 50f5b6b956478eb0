"""No network, by the stronger means or the weaker one, and what held is said."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

# installs a filter that refuses a system call before anything else runs, as some containers do
REFUSE = """
import ctypes, errno, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
def refuse(number):
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | errno.EPERM), (6, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("=HBBI", *row) for row in rows)
    kept = ctypes.create_string_buffer(program, len(program))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, struct.pack("=H6xQ", len(rows), ctypes.addressof(kept)), 0, 0) == 0
UNSHARE, PRCTL = {"x86_64": (272, 157), "aarch64": (97, 167)}[platform.machine()]
"""
CONFINE = """
import json, socket, sys
from neo.isolation.confine import Limits, confine
address = ("127.0.0.1", int(sys.argv[1]))
socket.create_connection(address, 5).close()
found = confine(Limits(1 << 32, 60.0, 1 << 30)).to_json()
local, other = socket.socketpair()  # within the machine all is as before
def tried(family):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(address if family == socket.AF_INET else ("::1", address[1]))
        return "connected"
    except OSError as error:
        return error.errno
print(json.dumps({**found, "ipv4": tried(socket.AF_INET), "ipv6": tried(socket.AF_INET6)}))
"""


def confined(before: str = "") -> dict[str, Any]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", before + CONFINE, str(server.getsockname()[1])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_confined_process_cannot_reach_the_network() -> None:
    found = confined()
    assert found["ipv4"] != "connected"
    assert found["ipv6"] != "connected"
    assert found["network"] in {"namespace", "filter"}


def test_where_namespaces_are_refused_a_filter_keeps_from_the_network() -> None:
    found = confined(REFUSE + "refuse(UNSHARE)\n")
    assert (found["network"], found["ipv4"], found["ipv6"]) == ("filter", 13, 13)
    assert found["refused"] == "no network namespace: Operation not permitted"


def test_where_both_are_refused_it_is_said() -> None:
    found = confined(REFUSE + "refuse(UNSHARE)\nrefuse(PRCTL)\n")
    assert found["network"] == ""
    assert "no network namespace" in found["refused"]
    assert "no system-call filter: Operation not permitted" in found["refused"]
    assert found["ipv4"] == "connected"


def test_the_filter_holds_for_other_calling_conventions_and_for_io_uring() -> None:
    calls = (
        "import ctypes, json, sys\nfrom neo.isolation.confine import Limits, confine\n"
        "confine(Limits(1 << 32, 60.0, 1 << 30))\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def errno_of(*arguments):\n"
        "    return ctypes.get_errno() if libc.syscall(*arguments) == -1 else 0\n"
        "print(json.dumps([errno_of(425, 1, 0), errno_of(0x40000000 + 41, 2, 1, 0)]))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", REFUSE + "refuse(UNSHARE)\n" + calls]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout)[0] == 13
    assert json.loads(done.stdout)[1] != 0


def test_a_limit_that_was_lower_before_is_the_one_that_is_said() -> None:
    before = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    found = confined(before)
    assert (found["file_bytes"], found["memory_bytes"]) == (1 << 20, 1 << 32)


def test_what_holds_here_is_found_by_a_confined_process() -> None:
    from neo.isolation import confinement_here

    assert confinement_here().network in {"namespace", "filter"}


def test_that_nothing_can_be_confined_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from neo.errors import EngineError
    from neo.isolation.call import confinement_here

    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "python"
        python.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(EngineError, match=r"starting a confined process crashed .exit code 3"):
            confinement_here.__wrapped__()


@pytest.mark.parametrize(
    ("network", "refused", "state", "words"),
    [
        ("namespace", "", "ok", "network: of its own without devices"),
        ("filter", "no network namespace: Operation not permitted", "ok", "sockets are refused (no network namespace"),
        ("", "no network namespace: x; no system-call filter: y", "broken", "the network can be reached: no network"),
    ],
)
def test_the_doctor_says_which_confinement_holds(
    monkeypatch: pytest.MonkeyPatch, network: str, refused: str, state: str, words: str
) -> None:
    from neo import doctor
    from neo.isolation import Confinement

    monkeypatch.setattr(doctor, "confinement_here", lambda: Confinement(8 << 30, 16 << 30, network, refused))
    finding = doctor._confinement()
    assert finding.state == state
    assert words in finding.found
