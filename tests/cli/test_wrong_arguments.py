"""Whatever stands on the command line: a message and an exit code of our own, never a traceback or code 70.

The parameters are taken from the commands themselves, so a new one is tried without being listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from _pytest.mark import ParameterSet

from neo.cli.__main__ import COMMANDS, INTERNAL_ERROR, main
from neo.cli.__main__ import neo as group
from tests.models import classifier
from tests.thorough import THOROUGH

MOST_SAID = 20_000
PORT_OF_NOBODY = "mqtt://127.0.0.1:1"
# command -> a line that works, or would if there were a broker; what is tried is put behind it. The demo takes no value
# but a choice and trains a model; keys generate makes a file by design, so it gets names that cannot be.
LINES = {
    "compile": ["net.onnx", "--engine", "onnxruntime"],
    "predict": ["net", "--input", "x.npz"],
    "evaluate": ["net", "--data", "data.npz", "--source", "net.onnx"],
    "benchmark": ["net", "--runs", "1"],
    "inspect": ["net"],
    "targets": ["host"],
    "tune show": [],
    "tune export": ["exported.json"],
    "tune import": ["text"],
    "tune forget": ["raspberry-pi-4"],
    "push": ["net", "--to", "device", "--broker", PORT_OF_NOBODY],
    "status": ["device", "--broker", PORT_OF_NOBODY],
    "fleet forget": ["device", "--broker", PORT_OF_NOBODY],
    "fleet revoke": ["device"],
    "broker": ["--port", "0", "--tls-cert", "missing", "--tls-key", "missing"],
    "broker config": ["mosquitto"],
    "keys generate": ["text"],
    "keys show": [],
    "keys sign": ["net"],
    "keys init": ["--keys", "fresh"],
    "keys export": ["root.json", "--keys", "tuf"],
    "keys revoke": ["abcdef", "--keys", "tuf"],
    "keys roles": ["--keys", "tuf"],
    "keys rotate": ["timestamp", "--keys", "tuf"],
    "keys threshold": ["root", "1", "--keys", "tuf"],
    "release": ["net", "--keys", "tuf", "--no-publish"],
    "fleet renew": ["--keys", "tuf", "--broker", PORT_OF_NOBODY],
    "doctor": ["--broker", PORT_OF_NOBODY],
}
SLOW = {"compile", "evaluate"}
# a plain file cannot be unreadable to root, a process's own memory is to everybody
FILES = ["missing", "folder", "empty", "text", "binary", "x.npz", "array.npy", "/proc/self/mem", "link-to-itself"]
FILES += ["folder/missing/deeper", "text/inside", "long" * 100, "long/" * 2000, "", "\udcff", "new\nline"]
WORDS = [
    "",
    " ",
    "=",
    "a=",
    "=1",
    "x" * 100_000,
    "\udcff\udcfe",
    "\x1b[31m",
    "../..",
    "-1",
    "1e400",
    "nan",
    "[",
    "ü:ü",
    "\udcff=float32[1]",
    "\udcff=1",
]


def _leaves() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield name, command
            for child, leaf in command.commands.items():
                yield f"{name} {child}", leaf
        else:
            yield name, command


def _cases() -> list[ParameterSet]:
    # much of what is no error compiles a model each time
    return [
        pytest.param(
            name, parameter, position, id=f"{name}-{parameter.name}", marks=[pytest.mark.slow] * (name in SLOW)
        )
        for name, command in _leaves()
        for position, parameter in enumerate(command.params)
        if name in LINES and not getattr(parameter, "is_flag", False)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of one model in its store, and files of every sort."""
    folder = tmp_path_factory.mktemp("wrong")
    classifier(folder / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _set_environment(patch, folder)
        assert _exit_code(["compile", "net.onnx", "--engine", "onnxruntime"]) == 0
        assert _exit_code(["keys", "init", "--keys", "tuf"]) == 0
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "text").write_text("this is a text\n")
    (folder / "binary").write_bytes(bytes(range(256)) * 8)
    (folder / "link-to-itself").symlink_to("link-to-itself")
    x = np.zeros((1, 1, 8, 8), np.float32)
    np.save(folder / "array.npy", x)
    np.savez(folder / "x.npz", x=x)
    np.savez(folder / "data.npz", x=x, labels=np.zeros(1, np.int64))
    return folder


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    _set_environment(monkeypatch, place)


def _set_environment(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("NEO_STORE", str(folder / "store"))
    patch.setenv("NEO_KEY", str(folder / "operator.key"))
    patch.setenv("NEO_FLEET_KEYS", str(folder / "no fleet's keys"))
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setenv("XDG_DATA_HOME", str(folder / "data"))
    patch.delenv("NEO_BROKER", raising=False)


def _exit_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code if isinstance(ended.value.code, int) else 0


def _words_for(name: str, parameter: click.Parameter, position: int) -> list[str]:
    """Of a command that compiles, every third, another third for each parameter in turn."""
    words = FILES if isinstance(parameter.type, click.Path) else [*WORDS, *FILES]
    return words[position % 3 :: 3] if name in SLOW and not THOROUGH else words


def _line(name: str, parameter: click.Parameter, word: str) -> list[str]:
    """The command's usual line with word for the parameter."""
    if isinstance(parameter, click.Option):
        # the last of an option's values counts; of one that may be repeated, all
        return [*name.split(), *LINES[name], f"{parameter.opts[-1]}={word}"]
    arguments = LINES[name][1:] if LINES[name][:1] and not LINES[name][0].startswith("-") else LINES[name]
    return [*name.split(), *arguments, "--", word]


def test_every_command_is_tried() -> None:
    assert {name for name, _ in _leaves()} - set(LINES) == {"demo"}


@pytest.mark.parametrize(("name", "parameter", "position"), _cases())
def test_no_value_of_a_parameter_is_an_internal_error(
    name: str, parameter: click.Parameter, position: int, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    for word in _words_for(name, parameter, position):
        line = _line(name, parameter, word)
        code = _exit_code(line)
        said = capsys.readouterr().err
        if code == INTERNAL_ERROR or "Traceback" in said or len(said) > MOST_SAID:
            wrong.append(f"{line!r:.200} ends with {code} and {len(said)} characters: {said:.400}")
    assert not wrong, "\n".join(wrong)
