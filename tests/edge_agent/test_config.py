from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.__main__ import command
from edge_agent.core.config import KINDS, make_config
from edge_agent.core.state_dir import locked
from edge_agent.serve.http import Listen
from neo.errors import DeviceIdInUse, NeoError, UsageError

FULL = """
broker = "mqtt://file:1883"
device-id = "from-file"
state-dir = "state"
trust = ["keys/a.pub", "/abs/b.pub"]
listen = "unix:/run/neo.sock"
threads = 3
json = true
"""


def test_every_option_of_the_command_can_stand_in_the_file() -> None:
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert options - {"--config", "--version"} == {f"--{key}" for key in KINDS}


def test_the_command_line_wins_and_paths_of_the_file_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(FULL)
    config = make_config({"device-id": "from-line", "threads": 1}, file)
    assert (config.device_id, config.threads, str(config.broker)) == ("from-line", 1, "mqtt://file:1883")
    assert config.trust == (tmp_path / "keys/a.pub", Path("/abs/b.pub"))
    assert config.state_dir == tmp_path / "state"
    assert config.listen == Listen(path=Path("/run/neo.sock"))
    assert config.json
    assert not config.debug


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("devise-id = 'x'", "unknown key 'devise-id'"),
        ("threads = '2'", "'threads' in .* should be int, found str"),
        ("threads = true", "'threads' in .* should be int, found bool"),
        ("trust = [1]", "list of file names"),
        ("broker = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_a_usage_error_that_names_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        make_config({}, file)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="missing: --state-dir, --trust"):
        make_config({"broker": "mqtt://h", "device-id": "d"}, None)


@pytest.mark.parametrize("wrong", [{"device-id": "a/b"}, {"device-id": "+"}, {"fleet": "#"}])
def test_a_name_that_cannot_stand_in_a_topic_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    given = {"broker": "mqtt://h", "device-id": "d", "state-dir": str(tmp_path), "trust": ("k",), **wrong}
    with pytest.raises(UsageError, match="is '"):
        make_config(given, None)


@pytest.mark.parametrize("text", ["8080", "host:", ":80", "h:65536", "unix:relative", "h:²"])
def test_a_place_that_cannot_be_listened_at_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot listen"):
        Listen.parse(text)


def test_places_to_listen_at() -> None:
    assert Listen.parse("[::1]:80") == Listen("::1", 80)
    assert Listen.parse("0.0.0.0:0") == Listen("0.0.0.0", 0)  # noqa: S104


def test_help_shows_an_example() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "Example: neo-agent --broker" in result.output.replace("\n  ", " ")


def test_a_second_agent_in_one_folder_is_told_about_the_first(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(DeviceIdInUse, match=r"process \d+"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_a_kill_left_half_written_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".current.123").symlink_to("slots/none")
    (tmp_path / ".install.json.abc").write_text("{")
    (tmp_path / ".profile").write_text("somebody's")
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"lock", ".profile"}


def test_a_state_dir_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NeoError, match="cannot write"), locked(tmp_path / "file" / "state"):
        pass
