"""A small SQL Server for tests: TDS 7.4 on a socket, whatever answers the statements behind it.

It speaks what Microsoft's ODBC driver, FreeTDS and the drivers on top of them need for logging in, running
statements and reading results: plain or in TLS, with parameters, in packets of any size, with errors by number,
with attention signals, and with connections that it cuts. It knows no SQL: `icetap.testing.tsql` does.

[MS-TDS] (read 2026-11-21): https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from icetap.testing.tds_types import WireType, read_parameter

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

BATCH, RPC, REPLY, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
PACKET_BYTES = 4096
MORE, ERROR, COUNT, ATTENTION_DONE = 0x01, 0x02, 0x10, 0x20
ENCRYPT_OFF, ENCRYPT_ON, ENCRYPT_NOT_SUPPORTED = 0, 1, 2


class ServerError(Exception):
    """An error that the server answers with, by SQL Server's number."""

    def __init__(self, number: int, message: str, *, severity: int = 16, state: int = 1) -> None:
        super().__init__(message)
        self.number, self.message, self.severity, self.state = number, message, severity, state


class CutError(Exception):
    """The server drops the connection here, without a word."""


@dataclass
class Result:
    """What one statement answers: columns (name, declared type) and rows; no columns for other statements."""

    columns: Sequence[tuple[str, str]] = ()
    rows: Iterable[Sequence[Any]] = ()
    transaction: bool | None = None
    """True when it began a transaction, False when it ended one."""


class Session(Protocol):
    """One connection's side that knows SQL."""

    def execute(
        self, sql: str, parameters: Sequence[Any], is_cancelled: Callable[[], bool]
    ) -> Iterable[Result]:
        """Run a batch; `is_cancelled` tells whether the client sent an attention signal.

        Raises:
            ServerError: As SQL Server would.
            CutError: To drop the connection.
        """

    def close(self) -> None:
        """The client is gone."""


@dataclass
class Login:
    """What a client said when it logged in."""

    user: str
    password: str
    database: str
    application: str
    is_read_only: bool
    is_encrypted: bool


@dataclass
class TdsServer:
    """Listens on 127.0.0.1 until it is closed; each connection has a thread and a session of its own.

    `login` answers with a session or raises `ServerError` (18456 and its kind). With `tls`, the server offers
    encryption; without it, a client that insists on it goes away.
    """

    login: Callable[[Login], Session]
    tls: ssl.SSLContext | None = None
    logins: list[Login] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    """Statements that came by remote procedure calls, which forget what they SET and may not begin transactions."""
    attentions: int = 0
    connections: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, name="tds", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.add(client)
            threading.Thread(target=self._serve, args=(client,), name="tds-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, EOFError, CutError):
                _Conversation(self, client).run()
        finally:
            self.connections.discard(client)
            client.close()

    def cut(self) -> None:
        """Drop every connection, as a restarting server does."""
        for client in list(self.connections):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._socket.close()
        self.cut()


class _Conversation:
    """One client, from its first byte to its last."""

    def __init__(self, server: TdsServer, client: socket.socket) -> None:
        self._server = server
        self._wire: _Wire = _Wire(client)
        self._session: Session | None = None
        self._prepared: dict[int, str] = {}

    def run(self) -> None:
        """Answer until the client goes away."""
        try:
            while True:
                kind, body = self._wire.receive()
                match kind:
                    case _ if kind == PRELOGIN:
                        self._prelogin(body)
                    case _ if kind == LOGIN:
                        self._login(body)
                    case _ if kind == BATCH:
                        sql = body[_header_bytes(body) :].decode("utf-16-le", "surrogatepass")
                        self._answer(sql, [], in_procedure=False)
                    case _ if kind == RPC:
                        self._call(memoryview(body))
                    case _ if kind == TRANSACTION:
                        begins = struct.unpack_from("<H", body, _header_bytes(body))[0] == 5
                        self._wire.send(_transaction(begins=begins) + _done())
                    case _ if kind == ATTENTION:
                        self._wire.send(_done(ATTENTION_DONE))
        finally:
            if self._session is not None:
                self._session.close()

    # --- logging in ---------------------------------------------------------------------------------

    def _prelogin(self, body: bytes) -> None:
        asked = _prelogin_option(body, 1)[0]
        tls = self._server.tls
        answer = (
            ENCRYPT_NOT_SUPPORTED if tls is None else ENCRYPT_ON if asked in {1, 3} else ENCRYPT_NOT_SUPPORTED
        )
        options = (
            (0, bytes.fromhex("100003e80000")),
            (1, bytes((answer,))),
            (2, b"\0"),
            (3, b""),
            (4, b"\0"),
        )
        at, head, tail = 5 * len(options) + 1, b"", b""
        for token, value in options:
            head += struct.pack(">BHH", token, at + len(tail), len(value))
            tail += value
        self._wire.send(head + b"\xff" + tail)
        if tls is not None and answer == ENCRYPT_ON:
            self._wire.begin_tls(tls)

    def _login(self, body: bytes) -> None:
        def text(at: int) -> bytes:
            start, length = struct.unpack_from("<HH", body, at)
            return body[start : start + 2 * length]

        password = bytes(((byte ^ 0xA5) >> 4 | (byte ^ 0xA5) << 4) & 0xFF for byte in text(44))
        login = Login(
            user=text(40).decode("utf-16-le"),
            password=password.decode("utf-16-le"),
            database=text(68).decode("utf-16-le"),
            application=text(48).decode("utf-16-le"),
            is_read_only=bool(body[26] & 0x20),
            is_encrypted=self._wire.is_encrypted,
        )
        self._server.logins.append(login)
        try:
            self._session = self._server.login(login)
        except ServerError as error:
            self._wire.send(_error(error) + _done(ERROR))
            raise CutError from error
        name = "Icetap's test server".encode("utf-16-le")
        acknowledged = b"\x01\x74\x00\x00\x04" + bytes((len(name) // 2,)) + name + bytes.fromhex("100003e8")
        self._wire.send(
            _change(1, _short_text(login.database or "master") + _short_text("master"))
            + _change(7, b"\x05" + bytes.fromhex("0904d00034") + b"\0")
            + _change(2, _short_text("us_english") + _short_text(""))
            + b"\xad" + struct.pack("<H", len(acknowledged)) + acknowledged
            + _change(4, _short_text(str(PACKET_BYTES)) + _short_text(str(PACKET_BYTES)))
            + _done()
        )  # fmt: skip

    # --- statements ---------------------------------------------------------------------------------

    def _call(self, body: memoryview) -> None:
        """Run sp_executesql, sp_prepexec, sp_execute, sp_prepare or sp_unprepare."""
        at = _header_bytes(body)
        length = struct.unpack_from("<H", body, at)[0]
        if length == 0xFFFF:
            procedure, at = struct.unpack_from("<H", body, at + 2)[0], at + 4
        else:
            name = bytes(body[at + 2 : at + 2 + 2 * length]).decode("utf-16-le").lower().removeprefix("sys.")
            procedure, at = {"sp_executesql": 10, "sp_prepexec": 13}.get(name, 0), at + 2 + 2 * length
        values, at = [], at + 2
        while at < len(body) and body[at] not in {0x80, 0xFF}:
            at += 1 + 2 * body[at] + 1
            value, at = read_parameter(body, at)
            values.append(value)
        handle = len(self._prepared) + 1
        match procedure:
            case 10:
                self._answer(values[0], values[2:], in_procedure=True)
            case 13:
                self._prepared[handle] = values[2]
                self._answer(values[2], values[3:], in_procedure=True, handle=handle)
            case 12:
                self._answer(self._prepared[values[0]], values[1:], in_procedure=True)
            case 11:
                self._prepared[handle] = values[2]
                self._wire.send(_return_value(handle) + _done(token=0xFE))
            case 15:
                self._wire.send(_done(token=0xFE))
            case _:
                error = ServerError(2812, "Could not find stored procedure.")
                self._wire.send(_error(error) + _done(ERROR, token=0xFE))

    def _answer(self, sql: str, parameters: Sequence[Any], *, in_procedure: bool, handle: int = 0) -> None:
        assert self._session is not None
        end = 0xFE if in_procedure else 0xFD
        if in_procedure:
            self._server.called.append(sql)
        try:
            for result in self._session.execute(sql, parameters, self._is_cancelled):
                self._send_result(result, token=0xFF if in_procedure else 0xFD)
        except ServerError as error:
            self._wire.send(_error(error) + _done(ERROR, token=end))
            return
        except _CancelledError:
            self._wire.send(_done(ATTENTION_DONE))
            return
        tail = (b"\x79\0\0\0\0" + (_return_value(handle) if handle else b"")) if in_procedure else b""
        self._wire.send(tail + _done(token=end))

    def _send_result(self, result: Result, *, token: int) -> None:
        if result.transaction is not None:
            self._wire.write(_transaction(begins=result.transaction))
        if not result.columns:
            self._wire.write(_done(MORE, token=token))
            return
        types = [WireType.of(declared) for _, declared in result.columns]
        head = b"\x81" + struct.pack("<H", len(types))
        for (name, _), kind in zip(result.columns, types, strict=True):
            head += struct.pack("<IH", 0, 0x09) + kind.declaration() + _short_text(name)
        self._wire.write(head)
        count = 0
        for row in result.rows:
            values = zip(types, row, strict=True)
            self._wire.write(b"\xd1" + b"".join([kind.value(value) for kind, value in values]))
            count += 1
            if count % 256 == 0 and self._is_cancelled():
                raise _CancelledError
        self._wire.write(_done(MORE | COUNT, count, token=token))

    def _is_cancelled(self) -> bool:
        """Whether the client sent an attention signal meanwhile."""
        if not self._wire.has_input():
            return False
        kind, _ = self._wire.receive()
        self._server.attentions += kind == ATTENTION
        if kind == ATTENTION:
            raise _CancelledError
        return False


class _CancelledError(Exception):
    """The client sent an attention signal."""


class _Wire:
    """Packets on a socket, in TLS once it began."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._tls: Any = None
        self._buffer = bytearray()
        self._packet = 0

    @property
    def is_encrypted(self) -> bool:
        return self._tls is not None

    def begin_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands inside of PRELOGIN packets; everything after that is TLS on the socket itself."""
        import ssl

        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming, self._outgoing = incoming, outgoing
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    self._send_packets(outgoing.read(), kind=PRELOGIN)
                incoming.write(self.receive()[1])
        if outgoing.pending:
            self._send_packets(outgoing.read(), kind=PRELOGIN)
        self._tls = tls

    def has_input(self) -> bool:
        pending = self._tls is not None and (self._tls.pending() or self._incoming.pending)
        return bool(pending or select.select([self._client], [], [], 0)[0])

    def receive(self) -> tuple[int, bytes]:
        """Return a message: its kind and its body, of however many packets."""
        body = b""
        while True:
            kind, status, length = struct.unpack(">BBH", self._exactly(8)[:4])
            body += self._exactly(length - 8)
            if status & 1:
                return kind, body

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            found += self._some(count - len(found))
        return found

    def _some(self, count: int) -> bytes:
        if self._tls is None:
            piece = self._client.recv(count)
        else:
            import ssl

            while True:
                try:
                    piece = bytes(self._tls.read(count))
                    break
                except ssl.SSLWantReadError:
                    raw = self._client.recv(65_536)
                    if not raw:
                        raise EOFError from None
                    self._incoming.write(raw)
        if not piece:
            raise EOFError
        return piece

    def write(self, tokens: bytes) -> None:
        """Add to the answer; whole packets go out."""
        self._buffer += tokens
        room = PACKET_BYTES - 8
        while len(self._buffer) > room:
            self._send_packet(bytes(self._buffer[:room]), is_last=False)
            del self._buffer[:room]

    def send(self, tokens: bytes) -> None:
        """Add to the answer and end it."""
        self.write(tokens)
        self._send_packet(bytes(self._buffer), is_last=True)
        self._buffer.clear()

    def _send_packets(self, data: bytes, *, kind: int) -> None:
        room = PACKET_BYTES - 8
        for start in range(0, len(data), room):
            self._send_packet(data[start : start + room], is_last=start + room >= len(data), kind=kind)

    def _send_packet(self, data: bytes, *, is_last: bool, kind: int = REPLY) -> None:
        self._packet = (self._packet + 1) & 0xFF
        packet = struct.pack(">BBHHBB", kind, is_last, len(data) + 8, 0, self._packet, 0) + data
        if self._tls is not None:
            self._tls.write(packet)
            packet = self._outgoing.read()
        self._client.sendall(packet)


# --- tokens -----------------------------------------------------------------------------------------


def _header_bytes(body: bytes | memoryview) -> int:
    return int(struct.unpack_from("<I", body, 0)[0])


def _prelogin_option(body: bytes, wanted: int) -> bytes:
    at = 0
    while body[at] != 0xFF:
        token, start, length = struct.unpack_from(">BHH", body, at)
        if token == wanted:
            return body[start : start + length]
        at += 5
    return b"\0"


def _short_text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode("utf-16-le")


def _change(kind: int, values: bytes) -> bytes:
    return b"\xe3" + struct.pack("<HB", len(values) + 1, kind) + values


def _transaction(*, begins: bool) -> bytes:
    descriptor = b"\x08" + bytes(7) + b"\x01"
    return _change(8, descriptor + b"\0") if begins else _change(10, b"\0" + descriptor)


def _error(error: ServerError) -> bytes:
    message = error.message.encode("utf-16-le")
    body = struct.pack("<IBB", error.number, error.state, error.severity)
    body += (
        struct.pack("<H", len(message) // 2)
        + message
        + _short_text("TEST")
        + _short_text("")
        + struct.pack("<I", 1)
    )
    return b"\xaa" + struct.pack("<H", len(body)) + body


def _return_value(handle: int) -> bytes:
    return b"\xac" + struct.pack("<HBBIH", 0, 0, 1, 0, 0) + b"\x26\x04\x04" + struct.pack("<i", handle)


def _done(status: int = 0, count: int = 0, *, token: int = 0xFD) -> bytes:
    return bytes((token,)) + struct.pack("<HHQ", status, 0xC1, count)
