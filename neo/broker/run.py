"""Run the embedded broker in a thread of this process for as long as a ``with`` block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neo.errors import BrokerError, MissingDependency, NeoError, UsageError
from neo.supervision import SupervisedThread

if TYPE_CHECKING:
    from neo.broker.embedded import EmbeddedBroker

log = logging.getLogger(__name__)

INSIDER = "neo-broker-itself"
SHUTDOWN_S = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """host, port: where to listen; port 0 takes a free one. data_dir: where retained messages are kept.
    password_file: see ``neo.broker.passwords``; None lets everybody in. tls_cert, tls_key: PEM files, both or none.
    """

    host: str
    port: int
    data_dir: Path
    password_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Listening:
    """url: for clients. inside: host, port, user and password with which this process itself gets in, without TLS."""

    url: str
    port: int
    inside: tuple[str, int, str, str] = field(repr=False)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def running_broker(settings: Settings, on_failure: Callable[[], None] = lambda: None) -> Iterator[Listening]:
    """Yields when clients can connect. on_failure: called, from another thread, if the broker ends by itself; the
    ``with`` block should then end too.

    Raises MissingDependency, UsageError, StoreError, BrokerError; at its end BrokerError if the broker had failed.
    """
    _check(settings)
    try:
        import neo.broker.embedded  # noqa: F401 - to fail here and not in the thread
    except ImportError as error:
        raise MissingDependency(
            f"the embedded broker needs amqtt: {error}", hint="pip install 'neo-edge[broker]'"
        ) from error
    _quieten()
    started: Future[tuple[Listening, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        failures.append(error)
        on_failure()

    leaving = threading.Event()
    work = partial(_run, settings, started)
    # not started again: its clients and its port may be in any state, and a supervisor above starts a clean process
    thread = SupervisedThread("the broker", work, stopping=leaving, on_failure=fail, restart=False)
    thread.start()
    try:
        listening, loop, stopping = started.result()
    except BaseException:  # a Ctrl-C while it starts, too
        thread.join()
        raise
    try:
        yield listening
    finally:
        leaving.set()
        with contextlib.suppress(RuntimeError):  # the loop of a broker that failed is closed
            loop.call_soon_threadsafe(stopping.set)
        thread.join(2 * SHUTDOWN_S)
        if thread.is_alive():
            log.error("the broker has not stopped in %g s", 2 * SHUTDOWN_S)
    if failures:
        raise BrokerError(
            f"the broker failed: {failures[0]}", hint="start it again; what was retained is in its folder"
        ) from failures[0]


def _check(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("TLS needs a certificate and its key", hint="give both --tls-cert and --tls-key")
    if settings.tls_cert is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(
                f"cannot use {settings.tls_cert} with {settings.tls_key}: {error.strerror or error}",
                hint="give a PEM certificate and the unencrypted PEM key that belongs to it",
            ) from error


def _quieten() -> None:
    """To amqtt every oddity of a client is an error of its own."""
    for name in ("amqtt", "transitions", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _run(settings: Settings, started: Future[Any]) -> None:
    try:
        asyncio.run(_serve(settings, started))
    except BaseException as error:  # not narrower: whatever ends a start must reach the thread that waits for it
        if started.done():
            raise
        started.set_exception(error)


async def _serve(settings: Settings, started: Future[Any]) -> None:
    from amqtt.contexts import ListenerConfig

    from neo.broker.embedded import EmbeddedBroker
    from neo.broker.passwords import read_passwords
    from neo.broker.retained import RetainedFile

    loop = asyncio.get_running_loop()
    # what a client's broken connection throws at the event loop is of no interest to the operator
    loop.set_exception_handler(lambda _, context: log.debug("%s", context.get("message")))
    users = None if settings.password_file is None else read_passwords(settings.password_file)
    retained_file = RetainedFile(settings.data_dir)
    with contextlib.closing(retained_file):
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        listener = ListenerConfig(
            bind=f"{host}:{settings.port}",
            ssl=settings.tls_cert is not None,
            certfile=settings.tls_cert,
            keyfile=settings.tls_key,
        )
        secret = secrets.token_urlsafe(24)
        broker = EmbeddedBroker(listener, retained_file, users=users, insider=(INSIDER, secret))
        await _start(broker, settings)
        inside_port = await broker.listen_inside()
        stopping = asyncio.Event()
        url = f"{'mqtts' if settings.tls_cert else 'mqtt'}://{host}:{broker.port}"
        started.set_result((Listening(url, broker.port, ("127.0.0.1", inside_port, INSIDER, secret)), loop, stopping))
        try:
            await _until_stopped(stopping, broker)
        finally:
            try:
                await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)
            except asyncio.TimeoutError:
                log.warning("the broker did not close every connection in %g s", SHUTDOWN_S)


async def _until_stopped(stopping: asyncio.Event, broker: EmbeddedBroker) -> None:
    """Raises BrokerError if one of the broker's own tasks ends before: it would listen on, and deliver nothing."""
    asked = asyncio.ensure_future(stopping.wait())
    tasks = broker.lasting_tasks
    await asyncio.wait([asked, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        return
    asked.cancel()
    ended = next(task for task in tasks if task.done())
    cause = None if ended.cancelled() else ended.exception()
    raise BrokerError(f"its task {ended.get_name()} ended: {cause!r}") from cause


async def _start(broker: EmbeddedBroker, settings: Settings) -> None:
    from amqtt.errors import BrokerError as AmqttBrokerError

    try:
        await broker.start()
    except AmqttBrokerError as error:
        raise _translate(error, settings) from error


def _translate(error: Exception, settings: Settings) -> NeoError:
    cause = error.__cause__
    if isinstance(cause, NeoError):
        return cause
    place = f"port {settings.port} on {settings.host}"
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return BrokerError(
            f"{place} is taken",
            hint="is a broker running there already? another port: --port 1884, or 0 for any free one",
        )
    if isinstance(cause, OSError) and cause.errno == errno.EACCES:
        return BrokerError(f"{place} is not open to this user", hint="choose a --port of 1024 or more")
    # for an address that is not this machine's asyncio says EADDRNOTAVAIL, from Python 3.13 on no number
    foreign = isinstance(cause, OSError) and cause.errno in {errno.EADDRNOTAVAIL, None}
    if isinstance(cause, socket.gaierror) or foreign:
        return UsageError(
            f"{settings.host!r} is no address of this machine", hint="--host 127.0.0.1, or 0.0.0.0 for every interface"
        )
    return BrokerError(f"the broker cannot listen on {place}: {cause or error}")
