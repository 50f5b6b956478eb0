"""The MQTT link: one connection that heals itself. What arrives is put into an inbox; nothing runs in callbacks.

MQTT 3.1.1 with clean sessions: a broker need not remember us, subscriptions are made anew on every connection, and
what a session needs to know is retained. The only module that imports the MQTT library.
"""

from __future__ import annotations

import collections
import itertools
import logging
import queue
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from neo.address import PORTS, SYSTEM_TLS, BrokerUrl, Tls
from neo.errors import BrokerError, MissingDependency, QueueFull
from neo.supervision import SupervisedThread

try:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
    from paho.mqtt.reasoncodes import ReasonCode
except ImportError as missing:
    raise MissingDependency(
        "talking to a broker needs paho-mqtt, which is not installed", hint="pip install 'neo-edge[mqtt]'"
    ) from missing

__all__ = [
    "SYSTEM_TLS",
    "BrokerUrl",
    "Connected",
    "Disconnected",
    "Event",
    "Link",
    "Message",
    "SubscriptionRefused",
    "Tls",
]

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 256 << 10  # twice what anybody here sends; what is larger is dropped
MAX_PACKET_BYTES = 8 << 20  # past this the connection is given up instead of read on: MQTT allows 256 MB
MAX_UNREAD = 256  # events in the inbox; then reading from the broker waits
MAX_EARLY_BYTES = 64 << 20  # of messages before the subscription is acknowledged, while connect() waits for that
MAX_QUEUED = 512  # QoS-1 messages waiting for a connection or an acknowledgement
TCP_TIMEOUT_S = 10.0
POLL_S = 0.005
FLUSH_S = 5.0  # how long stop() waits for what is queued
MIN_DELAY_S, MAX_DELAY_S = 0.2, 10.0
QOS_BITS, QOS_2 = 0b0110, 0b0100


@dataclass(frozen=True, slots=True)
class Connected:
    """Connected, and every subscription is in place: a request sent from now on gets its answer."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is lost, or an attempt to connect failed for another reason than the one before. The link goes
    on trying.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """retained: sent on subscription from the broker's memory. May come before ``Connected``."""

    topic: str
    payload: bytes
    retained: bool


Event = Connected | Disconnected | Message


class SubscriptionRefused(BrokerError):
    """The broker let us in, and then refused a topic filter or closed the connection because of it."""


class _Client(mqtt.Client):
    """Bounds what a broker can make the library hold in memory, before it does. Raises BrokerError."""

    def close(self) -> None:
        """For when no thread uses the client any more. By itself it closes its sockets when it is collected, and in a
        cycle of references the sockets may be collected first.
        """
        self._reset_sockets()

    def _sock_recv(self, bufsize: int) -> bytes:
        # called with what is left of the packet, first with all of it
        if bufsize > MAX_PACKET_BYTES:
            raise BrokerError(f"the broker sent a packet of {bufsize} bytes; at most {MAX_PACKET_BYTES} are read")
        return super()._sock_recv(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:
        # QoS 2 is subscribed to by nobody here; the library keeps such messages until the broker releases them
        if self._in_packet["command"] & QOS_BITS == QOS_2:
            raise BrokerError("the broker sent a message of QoS 2, which was not subscribed to")
        return super()._handle_publish()


class Link:
    """A connection to a broker. Call ``connect`` or ``start`` once, then ``publish`` from any thread, then ``stop``.

    client_id: unique at the broker; a second client with the same id throws the first one out.
    subscriptions: topic filters, QoS 1. watched: topic filters at QoS 0, for what is retained or may be lost: brokers
    bound the QoS 1 messages that wait for a client and drop the rest of a long burst without a word. inbox: where the
    events go. will: topic and payload that the broker publishes (retained, QoS 1) when the connection breaks without
    ``stop``.
    """

    def __init__(
        self,
        url: BrokerUrl,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        inbox: queue.SimpleQueue[Event],
        watched: Sequence[str] = (),
        will: tuple[str, bytes] | None = None,
        tls: Tls = SYSTEM_TLS,
        keepalive_s: int = 30,
    ) -> None:
        self._url = url
        self._subscriptions = (*((topic, 1) for topic in subscriptions), *((topic, 0) for topic in watched))
        self._extra: dict[str, None] = {}
        self._first_subscription: int | None = None
        self._inbox = inbox
        self._ready = threading.Event()
        self._leaving = threading.Event()  # nobody reads the inbox any more, while what is queued still goes out
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._refusal: BrokerError | None = None
        self._admitted = False  # in this attempt
        self._early_bytes = 0
        self._first: queue.SimpleQueue[BrokerError | None] | None = None
        self._unsent: collections.deque[mqtt.MQTTMessageInfo] = collections.deque()
        self._unsent_lock = threading.Lock()
        self._client = self._make_client(client_id, will, tls)
        self._keepalive_s = keepalive_s
        self._thread = SupervisedThread(
            f"link-{client_id}", self._run, stopping=self._stopping, on_failure=self._tell_failure
        )

    def connect(self, timeout_s: float) -> None:
        """Connect and subscribe; from then on the link reconnects by itself. Raises BrokerError."""
        first: queue.SimpleQueue[BrokerError | None] = queue.SimpleQueue()
        self._first = first
        self._begin(max(min(timeout_s, TCP_TIMEOUT_S), 0.1))
        try:
            failure = first.get(timeout=timeout_s)
        except queue.Empty:
            failure = BrokerError(
                f"no answer from the broker at {self._url} in {timeout_s:g} s",
                hint="is it a broker that listens there, and does a firewall let you through?",
            )
        self._first = None
        if failure is not None:
            self.stop()
            raise failure

    def start(self) -> None:
        """Connect in the background, for as long as it takes."""
        self._begin(TCP_TIMEOUT_S)

    @property
    def connected(self) -> bool:
        return self._ready.is_set()

    @property
    def backlog(self) -> int:
        """How many published messages the broker does not have yet: the measure for slowing down."""
        with self._unsent_lock:
            self._forget_sent()
            return len(self._unsent)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Never blocks. Without a connection QoS 0 is dropped; QoS 1 waits for it, at most MAX_QUEUED messages.

        Raises QueueFull if more wait: nothing of this message is sent. ``backlog`` is there to slow down before.
        """
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN and qos > 0:
            info.rc = MQTTErrorCode.MQTT_ERR_SUCCESS  # it is queued; the library leaves the code as it was
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            with self._unsent_lock:
                self._forget_sent()
                self._unsent.append(info)
        elif qos > 0:
            raise QueueFull(
                f"{MAX_QUEUED} messages wait for the broker at {self._url}; there is no room for one on {topic}"
            )

    def watch(self, topic: str) -> None:
        """Subscribe at QoS 0 to one topic more, from now on or from the next connection on. What the broker retains
        comes again, also if the topic is watched already. A broker that refuses it is obeyed, with a warning.
        """
        self._extra[topic] = None
        if self._ready.is_set():
            self._client.subscribe(topic, 0)

    def unwatch(self, topic: str) -> None:
        if topic in self._extra:
            del self._extra[topic]
            self._client.unsubscribe(topic)

    def stop(self) -> None:
        """Send what is queued if the broker takes it within FLUSH_S, then say goodbye: the will does not fire."""
        self._leaving.set()
        deadline = time.monotonic() + FLUSH_S
        while self._ready.is_set() and self.backlog and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._stopping.set()
        self._client.disconnect()
        if self._thread.ident is None:
            return
        self._thread.join(max(deadline - time.monotonic(), 0.5))
        self._abandoned.set()
        self._thread.join(TCP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._client.close()

    def _begin(self, tcp_timeout_s: float) -> None:
        self._client.connect_timeout = tcp_timeout_s
        # only says where; the connection itself is made by reconnect() in the network thread
        self._client.connect_async(self._url.host, self._url.port, keepalive=self._keepalive_s)
        self._thread.start()

    def _make_client(self, client_id: str, will: tuple[str, bytes] | None, tls: Tls) -> _Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id, clean_session=True, protocol=mqtt.MQTTv311)
        client.max_queued_messages_set(MAX_QUEUED)
        if self._url.user:
            client.username_pw_set(self._url.user, self._url.password or None)
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        if self._url.tls:
            client.tls_set_context(tls.context())
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        # with this set, publish() leaves the writing to the network thread instead of doing it in the caller's
        client.on_socket_register_write = lambda *_: None
        return client

    def _run(self) -> None:
        """The network thread. Ours and not the library's: its own neither jitters nor says why connecting failed."""
        delays = _delays()
        last_reason = ""
        while not self._stopping.is_set():
            failure = self._attempt()
            was_ready = self._ready.is_set()
            self._ready.clear()
            if self._stopping.is_set():
                break
            if self._first is not None and not was_ready:
                self._first.put(failure)
                break
            if was_ready:
                delays = _delays()
            if was_ready or failure.message != last_reason:
                self._inbox.put(Disconnected(failure.message))
                last_reason = failure.message
            self._stopping.wait(next(delays))
        if (sock := self._client.socket()) is not None:
            sock.close()

    def _tell_failure(self, error: Exception) -> None:
        """A mistake of ours ended ``_run``, which is about to be started again."""
        self._ready.clear()
        failure = BrokerError(f"the link to {self._url} failed: {error!r}")
        if self._first is not None:
            self._first.put(failure)
        self._inbox.put(Disconnected(failure.message))

    def _attempt(self) -> BrokerError:
        """One connection from its beginning to its end; -> why it ended."""
        self._refusal, self._admitted = None, False
        try:
            self._client.reconnect()
            code = MQTTErrorCode.MQTT_ERR_SUCCESS
            while code == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._abandoned.is_set():
                code = self._client.loop(timeout=0.5)
        except BrokerError as error:
            return error
        except OSError as error:
            return _translate(error, self._url)
        except Exception as error:  # noqa: BLE001 - whatever a broker's bytes do to the library, we must reconnect
            return BrokerError(f"what answers at {self._url} does not speak MQTT 3.1.1: {error!r}")
        return self._ending(code)

    def _ending(self, code: MQTTErrorCode) -> BrokerError:
        if self._refusal is not None:
            return self._refusal
        if self._ready.is_set():
            return BrokerError(f"lost the connection to {self._url}: {mqtt.error_string(code)}")
        if self._admitted:
            return SubscriptionRefused(
                f"the broker at {self._url} closed the connection when it was asked for {self._filters()}",
                hint="its access rules must let this user read these topics; see docs/brokers.md",
            )
        return BrokerError(
            f"the broker at {self._url} closed the connection before it answered",
            hint="is it an MQTT broker? one that wants TLS is reached with mqtts://",
        )

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if self._stopping.is_set():  # stop() came while we were connecting, and had nobody to say goodbye to
            client.disconnect()
        elif code.is_failure:
            self._refusal = _refused(code, self._url)
        elif self._subscriptions:
            self._admitted = True
            _, self._first_subscription = client.subscribe(list(self._subscriptions))
        else:
            self._announce()

    def _on_subscribe(
        self, client: mqtt.Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        if mid != self._first_subscription:
            if any(code.is_failure for code in codes):
                log.warning("the broker at %s refuses a subscription: %s", self._url, ", ".join(self._extra))
            return
        refused = [topic for (topic, _), code in zip(self._subscriptions, codes, strict=False) if code.is_failure]
        if refused:
            self._refusal = SubscriptionRefused(
                f"the broker at {self._url} refuses the subscription to {', '.join(refused)}",
                hint="its access rules must let this user read that topic; see docs/brokers.md",
            )
            client.disconnect()
        else:
            self._announce()

    def _filters(self) -> str:
        return ", ".join(topic for topic, _ in self._subscriptions)

    def _announce(self) -> None:
        self._ready.set()
        for topic in tuple(self._extra):
            self._client.subscribe(topic, 0)
        self._inbox.put(Connected())
        if self._first is not None:
            self._first.put(None)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            log.warning("dropped a message of %d bytes", len(message.payload))
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            log.warning("dropped a message whose topic is not UTF-8")
            return
        # a flood waits in the broker and in TCP's buffers, not in our memory
        while self._is_full(len(message.payload)) and not self._leaving.is_set():
            time.sleep(POLL_S)
        self._inbox.put(Message(topic, bytes(message.payload), message.retain))

    def _is_full(self, size: int) -> bool:
        if self._inbox.qsize() < MAX_UNREAD:
            return False
        if self._first is None or self._ready.is_set() or self._early_bytes + size > MAX_EARLY_BYTES:
            return True
        self._early_bytes += size  # brokers may send what is retained before they acknowledge the subscription
        return False

    def _forget_sent(self) -> None:
        while self._unsent and self._unsent[0].is_published():
            self._unsent.popleft()


def _delays() -> Iterator[float]:
    """Seconds to wait before each further attempt: twice as long each time, with jitter, so that a fleet does not
    come back all at once.
    """
    jitter = random.SystemRandom()
    for attempt in itertools.count():
        yield jitter.uniform(MIN_DELAY_S, min(MAX_DELAY_S, 2 * MIN_DELAY_S * 2 ** min(attempt, 16)))


def _translate(error: OSError, url: BrokerUrl) -> BrokerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"the certificate of the broker at {url} is not trusted: {error.verify_message}"
        hint = "give the certificate of the authority that signed it with --tls-ca"
    elif isinstance(error, ssl.SSLError):
        message = f"no TLS connection to the broker at {url}: {error.reason or error}"
        hint = "a broker without TLS is reached with mqtt://"
    elif isinstance(error, socket.gaierror):
        message, hint = f"unknown host {url.host!r}: {error.strerror}", "check the name in the broker URL"
    elif isinstance(error, ConnectionRefusedError):
        message = f"no broker listens at {url}"
        port = "" if url.port == PORTS["mqtt"] else f" --port {url.port}"
        hint = "check the broker URL" if url.tls else f"start one with: neo broker{port}"
    elif isinstance(error, TimeoutError):
        message = f"no answer from {url.host} port {url.port}"
        hint = "check the broker URL, and that a firewall lets you through"
    else:
        message, hint = f"cannot connect to {url}: {error.strerror or error}", "check the broker URL"
    failure = BrokerError(message, hint=hint)
    failure.__cause__ = error
    return failure


def _refused(code: ReasonCode, url: BrokerUrl) -> BrokerError:
    reason = code.getName()
    if reason in ("Not authorized", "Bad user name or password"):
        who = f"user {url.user!r}" if url.user else "a client without user and password"
        return BrokerError(
            f"the broker at {url} does not let {who} in: {reason.lower()}",
            hint="put them into the URL: mqtt://user:password@host",
        )
    return BrokerError(f"the broker at {url} refuses the connection: {reason.lower()}")
