"""amqtt's broker with what it leaves out: durable retained messages, keepalive, take-over, and goodbyes in order.

Each override says which behaviour of amqtt 0.12.1 it replaces. The only module that imports amqtt.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker, RetainedApplicationMessage, Server
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import NoDataError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import ApplicationMessage, Session

from neo import __version__
from neo.broker.passwords import is_right
from neo.broker.retained import Retained, RetainedFile
from neo.errors import StoreError

log = logging.getLogger(__name__)

CONNECT_S = 10.0  # for the first packet
CLOSE_S = 3.0  # for a client to take what was written to it before the connection is cut
RETRY_S = 5.0  # after a full disk
GRACE_S = 15  # beyond the keepalive; MQTT 3.1.1 asks for half of it, and our clients use 30 s

VERSION_TOPIC = "$SYS/broker/version"
REFUSED = 0x80  # in a SUBACK

_ADMITTED = "neo.admitted"


class EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """users: name -> password hash, None to let everybody in. insider: a name and password that are always let in."""

    def __init__(
        self,
        listener: ListenerConfig,
        retained_file: RetainedFile,
        *,
        users: Mapping[str, str] | None,
        insider: tuple[str, str],
    ) -> None:
        config = BrokerConfig(listeners={"default": listener}, plugins={}, timeout_disconnect_delay=GRACE_S)
        super().__init__(config, loop=asyncio.get_running_loop())
        self._file = retained_file
        self._users = users
        self._insider = insider
        self._unwritten: dict[str, Retained | None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._served: dict[int, asyncio.Event] = {}
        self._connections: set[asyncio.WriteTransport] = set()

    @property
    def port(self) -> int:
        instance = cast("asyncio.Server", self._servers["default"].instance)
        return int(instance.sockets[0].getsockname()[1])

    @property
    def lasting_tasks(self) -> tuple[asyncio.Task[Any], ...]:
        """What has to run for as long as the broker does."""
        return tuple(task for task in (self._broadcast_task, self._session_monitor_task) if task is not None)

    async def listen_inside(self) -> int:
        """Listen on the loopback interface too, without TLS, for the insider; -> port."""
        instance = await asyncio.start_server(partial(self.stream_connected, listener_name="default"), "127.0.0.1", 0)
        self._servers["inside"] = Server("inside", instance)
        return int(instance.sockets[0].getsockname()[1])

    async def shutdown(self) -> None:
        await super().shutdown()
        if self._writing is not None:
            self._writing.cancel()
        await asyncio.to_thread(self._file.write, self._unwritten)

    async def _shutdown_broadcast_loop(self) -> None:
        """Where amqtt's shutdown has ended the sessions and goes on to its listeners. From Python 3.12 on these wait
        for every connection, also for one that never said CONNECT.
        """
        await super()._shutdown_broadcast_loop()
        for connection in self._connections:
            connection.abort()

    async def _start_listeners(self) -> None:
        # here, because start() forgets every retained message first, and whoever connects next must find them
        for topic, message in self._file.load().items():
            self._retained_messages[topic] = RetainedApplicationMessage(None, topic, message.payload, message.qos)
        # as mosquitto says it: clients that rely on the order of its messages must know which broker this is
        version = f"neo-edge broker {__version__}".encode()
        self._retained_messages[VERSION_TOPIC] = RetainedApplicationMessage(None, VERSION_TOPIC, version, 0)
        await super()._start_listeners()

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Also on disk, a moment later: many messages share one write."""
        await super().retain_message(source_session, topic_name, data, qos)
        if topic_name is not None:
            self._unwritten[topic_name] = Retained(bytes(data), qos or 0) if data else None
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write_retained())
                self._writing.add_done_callback(_log_failure)

    async def _write_retained(self) -> None:
        while self._unwritten:
            changes = dict(self._unwritten)
            try:
                await asyncio.to_thread(self._file.write, changes)
            except StoreError as error:
                log.warning("retained messages are not on disk: %s. %s", error.message, error.hint)
                await asyncio.sleep(RETRY_S)
                continue
            for topic, message in changes.items():
                if self._unwritten.get(topic) is message:
                    del self._unwritten[topic]

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """As amqtt's, which leaves a connection open that began with anything but CONNECT, or that does not read."""
        self._connections.add(writer.transport)
        try:
            await super().stream_connected(reader, writer, listener_name)
        except (OSError, asyncio.IncompleteReadError) as error:
            log.debug("a client went away: %s", error)
        finally:
            self._connections.discard(writer.transport)
            writer.transport.abort()

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """As amqtt's, which waits for ever for the first packet."""
        reading = super()._initialize_client_session(reader, writer, remote_address, remote_port)
        try:
            _, session = await asyncio.wait_for(reading, CONNECT_S)
        except asyncio.TimeoutError as error:
            raise NoDataError(f"no CONNECT within {CONNECT_S} s") from error
        return _Handler(self.plugins_manager), session

    async def _delete_session(self, client_id: str) -> None:
        """Nothing: amqtt comes here before it has looked at the password. ``_take_over`` does it afterwards."""

    async def _handle_client_session(  # noqa: PLR0917 - amqtt's signature
        self,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        client_session: Session,
        handler: BrokerProtocolHandler,
        server: Server,
        listener_name: str,
    ) -> None:
        """As amqtt's, where a client that is not admitted replaces the session of one that was."""
        admitted = await self._authenticate(client_session, self.listeners_config[listener_name])
        if not admitted:
            handler.attach(client_session, reader, writer)
            await handler.mqtt_connack_authorize(False)
            await writer.close()
            return
        await self._take_over(client_session.client_id or "", forget=bool(client_session.clean_session))
        left = self._served[id(handler)] = asyncio.Event()
        try:
            await super()._handle_client_session(reader, writer, client_session, handler, server, listener_name)
        finally:
            del self._served[id(handler)]
            client_session.transitions.disconnect()  # the session monitor clears away what is disconnected
            left.set()

    async def _take_over(self, client_id: str, *, forget: bool) -> None:
        """End the connection that uses this client id [MQTT-3.1.4-2]; its will fires now and not minutes later, when
        it would overwrite what the new connection says.
        """
        _, handler = self._sessions.get(client_id, (None, None))
        if handler is not None and (left := self._served.get(id(handler))) is not None:
            await handler.handle_connection_closed()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(left.wait(), 2 * CLOSE_S)
        if forget:
            await super()._delete_session(client_id)

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        if _ADMITTED not in session.attributes:
            session.attributes[_ADMITTED] = await self._admits(session.username, session.password)
            session.is_anonymous = not session.username
        return bool(session.attributes[_ADMITTED])

    async def _admits(self, name: str | None, password: str | None) -> bool:
        insider, secret = self._insider
        if name == insider:
            return hmac.compare_digest((password or "").encode(), secret.encode())
        if self._users is None:
            return True
        if not name:
            return False
        return await asyncio.to_thread(is_right, self._users, name, password or "")

    async def _client_message_loop(self, client_session: Session, handler: BrokerProtocolHandler) -> None:
        """In place of amqtt's, which throws away what it has acknowledged but not yet passed on when the client says
        goodbye. Here everything before the goodbye is passed on, then the will.
        """
        gone = asyncio.ensure_future(handler.wait_disconnect())
        queue = client_session.delivered_message_queue
        publishing = asyncio.create_task(self._pass_on(client_session, handler, queue))
        subscribing = asyncio.create_task(self._serve_subscriptions(client_session, handler))
        await asyncio.wait([gone, publishing, subscribing], return_when=asyncio.FIRST_COMPLETED)
        subscribing.cancel()
        queue.put_nowait(cast("ApplicationMessage", None))  # the end of the queue
        for task in (publishing, subscribing):
            task.add_done_callback(_log_failure)
        await asyncio.gather(publishing, subscribing, return_exceptions=True)
        if not gone.done():  # a publish or subscription that MQTT forbids
            await handler.handle_connection_closed()
            await gone
        await self._handle_disconnect(client_session, handler, gone)

    async def _pass_on(
        self, session: Session, handler: BrokerProtocolHandler, queue: asyncio.Queue[ApplicationMessage]
    ) -> None:
        while (message := await queue.get()) is not None:
            if not await self._handle_message_delivery(session, handler, _done(message)):
                return

    async def _serve_subscriptions(self, session: Session, handler: BrokerProtocolHandler) -> None:
        subscription = asyncio.ensure_future(handler.get_next_pending_subscription())
        unsubscription = asyncio.ensure_future(handler.get_next_pending_unsubscription())
        try:
            while True:
                await asyncio.wait([subscription, unsubscription], return_when=asyncio.FIRST_COMPLETED)
                if subscription.done():
                    await self._handle_subscription(session, handler, subscription)
                    subscription = asyncio.ensure_future(handler.get_next_pending_subscription())
                if unsubscription.done():
                    await self._handle_unsubscription(session, handler, unsubscription)
                    unsubscription = asyncio.ensure_future(handler.get_next_pending_unsubscription())
        finally:
            subscription.cancel()
            unsubscription.cancel()

    async def _handle_subscription(
        self, client_session: Session, handler: BrokerProtocolHandler, subscribe_waiter: asyncio.Future[Any]
    ) -> None:
        """As amqtt's, which acknowledges first and then sends what is retained filter by filter; what the client
        publishes meanwhile comes in between. Here the acknowledgement is the last to be written, so that what a client
        publishes after it comes back after everything that was retained.
        """
        packet = subscribe_waiter.result()
        codes = [await self.add_subscription(subscription, client_session) for subscription in packet.topics]
        burst = [
            asyncio.create_task(
                handler.mqtt_publish(kept.topic, kept.data, min(qos, kept.qos or qos), retain=True), name="retained"
            )
            for (topic_filter, qos), code in zip(packet.topics, codes, strict=True)
            if code != REFUSED
            for topic, kept in self._retained_messages.items()
            if self._matches(topic, topic_filter)
        ]
        # the tasks are ready to run, and do so before anything that the client sends in answer is read
        await handler.mqtt_acknowledge_subscription(packet.packet_id, codes)
        await asyncio.gather(*burst, return_exceptions=True)  # a client that goes away meanwhile is no failure

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Nothing: amqtt greets every client with the retained messages of everybody's subscriptions. A client gets
        those of its own, from ``_handle_subscription``.
        """


class _Handler(BrokerProtocolHandler):  # type: ignore[misc]  # amqtt has no types
    """One client's connection."""

    def handle_read_timeout(self) -> None:
        """In place of amqtt's, which waits on for a client that is silent beyond its keepalive: no will fires."""
        self._closing = asyncio.ensure_future(self.handle_connection_closed())

    async def stop(self) -> None:
        """As amqtt's, which waits for ever for a client that does not read; ``stream_connected`` cuts it off then."""
        try:
            await asyncio.wait_for(super().stop(), CLOSE_S)
        except asyncio.TimeoutError:
            log.debug("a client did not take its last bytes")


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a task of the broker ended: %r", error)


def _done(value: Any) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future
