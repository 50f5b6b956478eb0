"""`neo broker`: the embedded broker in the foreground."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neo.cli.options import PathArgument, json_option, open_store, rate_limit_option, store_option
from neo.cli.output import emit, progress_console, shortened
from neo.cli.trust import has_keys, keys_option, open_repository

if TYPE_CHECKING:
    from rich.console import Console

    from neo.broker.run import Listening

_EXAMPLE = """\b
Examples:
  neo broker
  neo broker --password-file users --add-user device-7
  neo broker --host 0.0.0.0 --password-file users --tls-cert cert.pem --tls-key key.pem
  neo broker config mosquitto
"""

_file = click.Path(dir_okay=False, path_type=Path)


@click.group(name="broker", epilog=_EXAMPLE, invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=1883, show_default=True, help="0 takes a free port.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where retained messages are kept. [default: in the user's data folder]",
)
@click.option("--password-file", type=_file, help="Let in only the users of this file.")
@click.option("--add-user", metavar="NAME", help="Ask for a password, write it to --password-file, and exit.")
@click.option("--allow-anonymous", is_flag=True, help="Say that everybody may connect: no warning.")
@click.option("--tls-cert", type=_file, help="PEM certificate; clients then use mqtts://.")
@click.option("--tls-key", type=_file, help="PEM key of the certificate.")
@click.option("--fleet", default="default", show_default=True, help="The fleet whose devices get blobs from the store.")
@keys_option
@rate_limit_option
@click.option("--no-serve", is_flag=True, help="Do not serve the store's bundles to devices.")
@store_option
@json_option
@click.pass_context
def broker_command(
    context: click.Context,
    *,
    host: str,
    port: int,
    data_dir: Path | None,
    password_file: Path | None,
    add_user: str | None,
    allow_anonymous: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    fleet: str,
    keys: Path | None,
    max_bytes_per_s: float | None,
    no_serve: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Run an MQTT broker until it is interrupted.

    What it retains (assignments, states) survives a restart. It also serves the bundles of the store, so that a
    device that comes online tomorrow gets what was pushed to it today. If the fleet's online TUF keys are here (see
    neo keys init), it renews the timestamp, without which devices call what they trust stale.
    """
    if context.invoked_subcommand is not None:
        return
    from neo.broker.run import Settings, running_broker
    from neo.errors import UsageError

    if password_file is not None and allow_anonymous:
        raise UsageError("--allow-anonymous contradicts --password-file", hint="give one of them")
    if not host:
        raise UsageError("--host is empty", hint="give the address to listen on; 0.0.0.0 for every one")
    if add_user is not None:
        _add_user(password_file, add_user, as_json)
        return
    data_dir = data_dir or _data_dir()
    _warn_if_open(host, password_file, allow_anonymous)
    stopping = threading.Event()
    with (
        _stopping_on_signals(stopping),
        running_broker(Settings(host, port, data_dir, password_file, tls_cert, tls_key), stopping.set) as listening,
        contextlib.nullcontext() if no_serve else _serving(listening, fleet, store, max_bytes_per_s),
        _renewing(listening, fleet, keys) if has_keys(keys, fleet) else contextlib.nullcontext(),
    ):
        ready = {"url": listening.url, "port": listening.port, "data_dir": str(data_dir)}
        if as_json:
            emit(ready, as_json, lambda _: None)
        else:
            progress_console().print(f"broker at [bold]{listening.url}[/bold], Ctrl-C stops it")
        stopping.wait()


@broker_command.command("config", epilog="Example: neo broker config mosquitto --write mosquitto/")
@click.argument("kind", type=click.Choice(["mosquitto", "emqx", "rabbitmq"]))
@click.option("--fleet", default="default", show_default=True)
@click.option("--write", "folder", type=PathArgument(file_okay=False), help="Write the files into this folder.")
@json_option
def config(*, kind: str, fleet: str, folder: Path | None, as_json: bool) -> None:
    """Print configuration files for a broker of another project: settings for thousands of devices, and access rules
    that let each device speak for itself alone.
    """
    from neo.broker.config import render
    from neo.durable import replace_file, translating_os_errors

    files = render(kind, fleet)
    if folder is not None:
        with translating_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            replace_file(folder / Path(file.path).name, file.text.encode())
    value = {"kind": kind, "fleet": fleet, "files": [{"path": file.path, "text": file.text} for file in files]}

    def show(out: Console) -> None:
        for file in files:
            if folder is None:
                out.print(f"# ---- {file.path}\n{file.text}", markup=False, highlight=False, soft_wrap=True)
            else:
                out.print(f"{folder / Path(file.path).name}: for {file.path}", markup=False, highlight=False)

    emit(value, as_json, show)


def _add_user(password_file: Path | None, name: str, as_json: bool) -> None:
    from neo.broker.passwords import add_user
    from neo.errors import UsageError

    if password_file is None:
        raise UsageError("--add-user needs the file to write to", hint="give --password-file FILE")
    add_user(password_file, name, click.prompt(f"password of {name}", hide_input=True, err=True))
    emit({"password_file": str(password_file), "user": name}, as_json, lambda out: out.print(f"{name} may connect"))


def _data_dir() -> Path:
    import platformdirs

    from neo.settings import APP

    return Path(platformdirs.user_data_dir(APP)) / "broker"


def _warn_if_open(host: str, password_file: Path | None, allow_anonymous: bool) -> None:
    from neo.broker.run import is_loopback

    if password_file is None and not allow_anonymous and not is_loopback(host):
        progress_console().print(
            f"[yellow]warning:[/yellow] anybody who can reach {shortened(host)} may connect and read every message; "
            "--password-file lets in only those you name"
        )


@contextlib.contextmanager
def _stopping_on_signals(stopping: threading.Event) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _serving(
    listening: Listening, fleet: str, store: Path | None, max_bytes_per_s: float | None
) -> contextlib.AbstractContextManager[str]:
    from neo.contract.topics import Topics
    from neo.fleet.source import serving
    from neo.link import BrokerUrl

    host, port, user, password = listening.inside
    # bundles may come later: a store that is not there yet is made, a folder of something else is left alone
    opened = open_store(store, create=store is None or not store.exists())
    return serving(
        opened, Topics(fleet), BrokerUrl(host, port, user=user, password=password), max_bytes_per_s=max_bytes_per_s
    )


def _renewing(listening: Listening, fleet: str, keys: Path | None) -> contextlib.AbstractContextManager[None]:
    repository = open_repository(keys, fleet)
    from neo.contract.topics import Topics
    from neo.fleet.clock import SYSTEM_CLOCK, random_id
    from neo.fleet.transport import MqttTransport
    from neo.fleet.tuf import renewing
    from neo.link import SYSTEM_TLS, BrokerUrl

    host, port, user, password = listening.inside
    transport = MqttTransport(BrokerUrl(host, port, user=user, password=password), SYSTEM_TLS, random_id)
    return renewing(transport, Topics(fleet), repository, clock=SYSTEM_CLOCK)
