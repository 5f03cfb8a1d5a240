"""The grader's end of a kernel's sockets: ZMTP 3 over Unix sockets, read with limits.

A library for ZeroMQ reads in a thread of its own, as fast as the other side writes, and
puts no bound on the parts of one message.  Here a byte is read only when the grader
asks for a message, and a length is checked before what it announces is read.  Of the
protocol (RFC 23 of ZeroMQ) this is what a Jupyter client needs: the mechanism NULL, one
connection, the socket types DEALER and SUB.
"""

import socket
import struct
import time
from dataclasses import dataclass

MORE, LONG, COMMAND = 1, 2, 4  # flags of a frame
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
CHUNK = 1 << 18  # bytes of one read
MAX_PARTS = 64  # of one message; Jupyter's have about eight


class Refused(Exception):
    """The other side sent more than it may, or what is no message."""


@dataclass
class Traffic:
    """What a kernel may still send; shared by its sockets, counted down by them."""

    bytes: int
    messages: int

    def take(self, size: int, messages: int = 0) -> None:
        """Count; raises Refused when nothing is left."""
        self.bytes -= size
        self.messages -= messages
        if self.bytes < 0:
            raise Refused("more output than a submission may send")
        if self.messages < 0:
            raise Refused("more messages than a submission may send")


class Channel:
    """A connected socket: ``send`` parts of a message, ``next`` whole message or None.

    path: of the Unix socket.  kind: DEALER or SUB (which subscribes to all).
    largest: bytes of one message.  traffic: what may come in all.  Raises OSError when
    nobody listens, Refused when the other side does not speak ZMTP 3.
    """

    def __init__(self, path: str, kind: str, largest: int, seconds: float = 5.0):
        self.largest, self.kind = largest, kind
        self.buffer, self.parts, self.size = bytearray(), [], 0
        self.traffic = Traffic(10_000_000, 1000)  # of the start
        self.deadline = time.monotonic() + seconds
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(seconds)
            self.socket.connect(path)
            self._greet()
        except BaseException:
            self.socket.close()
            raise

    def _greet(self) -> None:
        self.socket.sendall(GREETING)
        theirs = self._exactly(64)
        if theirs[0] != 0xFF or theirs[10] < 3 or theirs[12:17] != b"NULL\0":
            raise Refused("no ZMTP 3")
        ready = b"\5READY" + _property(b"Socket-Type", self.kind.encode())
        self.socket.sendall(framed(ready + _property(b"Identity", b""), COMMAND))
        while True:  # up to their READY
            flags, body = self._one_frame()
            if flags & COMMAND and body.startswith(b"\5READY"):
                break
        if self.kind == "SUB":
            self.socket.sendall(framed(b"\1"))  # to every topic

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._read()
        found = bytes(self.buffer[:size])
        del self.buffer[:size]
        return found

    def _one_frame(self) -> tuple[int, bytes]:
        while (frame := self._frame()) is None:
            self._read()
        return frame

    def _read(self) -> None:
        """Wait for bytes; only while connecting, where the other side is our own."""
        self.socket.settimeout(max(self.deadline - time.monotonic(), 0.01))
        got = self.socket.recv(CHUNK)
        if not got:
            raise Refused("closed")
        self.buffer += got

    def fileno(self) -> int:
        """For selectors."""
        return self.socket.fileno()

    def send(self, parts: list[bytes], seconds: float = 5.0) -> None:
        """Send one message.  Raises OSError when it is not taken within ``seconds``."""
        self.socket.settimeout(max(seconds, 0.01))
        last = len(parts) - 1
        frames = [framed(part, MORE * (i < last)) for i, part in enumerate(parts)]
        self.socket.sendall(b"".join(frames))

    def next(self, readable: bool) -> list[bytes] | None:
        """The parts of the next message; None when it is not whole yet.

        Reads at most CHUNK bytes, and none unless the socket is ``readable`` and the
        message is not here already.  Raises Refused beyond a limit, OSError when the
        other side has closed.
        """
        message = self._message()
        if message is None and readable:
            self.socket.settimeout(1.0)
            got = self.socket.recv(CHUNK)
            if not got:
                raise ConnectionResetError("it closed its socket")
            self.traffic.take(len(got))
            self.buffer += got
            message = self._message()
        return message

    def _message(self) -> list[bytes] | None:
        while (frame := self._frame()) is not None:
            flags, body = frame
            if flags & COMMAND:
                self.traffic.take(0, 1)
                continue
            self.parts.append(body)
            self.size += len(body)
            if len(self.parts) > MAX_PARTS:
                raise Refused(f"a message of more than {MAX_PARTS} parts")
            if not flags & MORE:
                self.traffic.take(0, 1)
                message, self.parts, self.size = self.parts, [], 0
                return message
        return None

    def _frame(self) -> tuple[int, bytes] | None:
        """Flags and body of the frame at the head of the buffer, when it is whole."""
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        flags = buffer[0]
        head = 9 if flags & LONG else 2
        if len(buffer) < head:
            return None
        size = struct.unpack_from(">Q", buffer, 1)[0] if flags & LONG else buffer[1]
        if size + self.size > self.largest:
            raise Refused(f"a message of more than {self.largest / 1e6:g} MB")
        if len(buffer) < head + size:
            return None
        body = bytes(buffer[head : head + size])
        del buffer[: head + size]
        return flags, body

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def framed(body: bytes, flags: int = 0) -> bytes:
    """A frame of ZMTP 3: flags, the length in 1 or 8 bytes, the body."""
    if len(body) > 255:
        return struct.pack(">BQ", flags | LONG, len(body)) + body
    return bytes([flags, len(body)]) + body
