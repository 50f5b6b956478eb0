"""A thread that dies takes the agent down, in words: an agent that only looks alive helps nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge_agent.devices import AgentProcess

# what is broken, before the agent is started in the same process
BROKEN = {
    "http": "import waitress.server; waitress.server.BaseWSGIServer.run = fail",
    "http-room": "import edge_agent.serve.http as http; http.HttpServer._make_room = fail",
    "disk": "import edge_agent.tasks as tasks; tasks.Tasks._work = fail",
}


def run_agent(program: str, state_dir: Path, trust: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["--broker", "mqtt://127.0.0.1:9", "--device-id", "d", "--state-dir", str(state_dir)]
    arguments += ["--trust", str(trust), "--listen", "127.0.0.1:0", "--json"]
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("thread", BROKEN)
def test_an_agent_whose_thread_died_ends_with_an_error_that_names_it(thread: str, tmp_path: Path, trust: Path) -> None:
    program = f"""
import sys
class Broken(Exception): pass
def fail(*_args, **_kwargs):
    raise Broken("of no use any more")
{BROKEN[thread]}
from edge_agent.__main__ import main
main()
"""
    done = run_agent(program, tmp_path / "state", trust)
    assert done.returncode == 1, done.stderr
    assert f"thread {thread}" in done.stderr
    assert "died of Broken: of no use any more" in done.stderr
    assert "Traceback" in done.stderr  # in the log, of the thread
    assert not (tmp_path / "state" / "agent.json").exists()


def test_a_link_that_fails_is_logged_and_tried_again_while_the_agent_goes_on(tmp_path: Path, trust: Path) -> None:
    program = """
import os, signal, threading
import neo.link
tried = []
def fail(*_args):
    tried.append(1)
    if len(tried) == 2:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    raise RuntimeError("of no use any more")
neo.link.Link._attempt = fail
from edge_agent.__main__ import main
main()
"""
    done = run_agent(program, tmp_path / "state", trust)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("link-neo-agent-d") >= 2
    assert "of no use any more" in done.stderr


def test_an_http_server_that_ends_unasked_is_a_death_too(tmp_path: Path, trust: Path) -> None:
    program = """
import waitress.server
waitress.server.BaseWSGIServer.run = lambda self: None
from edge_agent.__main__ import main
main()
"""
    done = run_agent(program, tmp_path / "state", trust)
    assert done.returncode == 1, done.stderr
    assert "thread http died" in done.stderr


def test_an_agent_that_is_stopped_reports_no_death(tmp_path: Path, trust: Path, agents: list[AgentProcess]) -> None:
    agents.append(AgentProcess("mqtt://127.0.0.1:9", tmp_path / "state", trust))
    assert agents[0].url
    assert agents[0].stop() == 0
    assert "died" not in "".join(agents[0].log)
