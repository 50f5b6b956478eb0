"""Where a broker listens, and how to prove who is who there."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from neo.errors import UsageError

PORTS = {"mqtt": 1883, "mqtts": 8883}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9.])?|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where a broker listens. ``str`` never shows the password."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """mqtt://[user[:password]@]host[:port] (port 1883) or mqtts://... (TLS, port 8883). Raises UsageError."""
        shape = "write it as mqtt://host:1883, or mqtts://user:password@host:8883 for TLS"
        shown = re.sub(r"(?<=:)[^:@/]*(?=@)", "***", text[:200])
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"broker URL {shown!r}: {error}", hint=shape) from error
        if parts.scheme not in PORTS or not text.lower().startswith(f"{parts.scheme}://"):
            raise UsageError(f"broker URL {shown!r} begins with neither mqtt:// nor mqtts://", hint=shape)
        host = parts.hostname or ""
        if not _HOST.fullmatch(host) or port == 0:
            raise UsageError(f"broker URL {shown!r} names no host or no port that can be connected to", hint=shape)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UsageError(f"broker URL {shown!r} goes on after the port", hint=shape)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if password and not user:
            raise UsageError(f"broker URL {shown!r} has a password but no user", hint=shape)
        return cls(host, port or PORTS[parts.scheme], parts.scheme == "mqtts", user, password)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}"


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; the MQTT library leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


@dataclass(frozen=True, slots=True)
class Tls:
    """For mqtts:// only. ca: PEM file of the authorities to trust, None for the system's. cert, key: PEM files with
    which the client proves who it is.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises UsageError if a file is missing or is not what it should be."""
        if self.key is not None and self.cert is None:
            raise UsageError("a TLS key without its certificate", hint="give the certificate too, or neither")
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.sslsocket_class = _TlsSocket
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.ca, self.cert, self.key) if path is not None)
            raise UsageError(
                f"cannot use the TLS files {files}: {error.strerror or error}",
                hint="they are PEM files: the authority's certificate, the client's certificate, its key",
            ) from error
        return context


SYSTEM_TLS = Tls()
