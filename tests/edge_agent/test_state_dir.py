"""The agent's folder on a disk that takes nothing more."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

from edge_agent.core.state_dir import locked, noted


def test_the_note_says_where_the_agent_is_and_goes_with_it(tmp_path: Path) -> None:
    with locked(tmp_path), noted(tmp_path, "http://x", "kitchen"):
        note = json.loads((tmp_path / "agent.json").read_bytes())
        assert note["device_id"] == "kitchen"
        assert (tmp_path / "lock").read_text() == str(note["pid"])
    assert not (tmp_path / "agent.json").exists()


def test_a_disk_that_takes_nothing_more_does_not_keep_the_agent_from_starting(tmp_path: Path) -> None:
    """The limit on the size of files refuses every write, as a full disk does."""
    (tmp_path / "agent.json").write_text("of an agent that was killed")

    def let_no_byte_be_written() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    program = (
        "import sys; from pathlib import Path; from edge_agent.core.state_dir import locked, noted\n"
        "d = Path(sys.argv[1])\n"
        "with locked(d), noted(d, 'http://x', 'kitchen'): print('started', (d / 'agent.json').exists())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=let_no_byte_be_written)
    assert done.stdout == "started False\n", done.stderr
