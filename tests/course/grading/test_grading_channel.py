"""The grader's end of a kernel's sockets, and what it keeps of what comes in."""

import base64
import random
import socket
import struct
import threading
import time

import pytest
import zmq

from course_lib.course.grading import channel, outputs
from course_lib.course.grading.channel import Channel, Refused, Traffic

LARGEST = 1_000_000


@pytest.fixture
def peer(tmp_path):
    """peer(kind) -> a libzmq socket that listens, and a Channel connected to it."""
    context, channels = zmq.Context(), []

    def connected(kind):
        theirs = context.socket(kind)
        theirs.bind(f"ipc://{tmp_path}/s")
        channels.append(Channel(f"{tmp_path}/s", KINDS[kind], LARGEST))
        return theirs, channels[-1]

    yield connected
    for one in channels:
        one.close()
    context.destroy(linger=0)


KINDS = {zmq.ROUTER: "DEALER", zmq.XPUB: "SUB", zmq.PUB: "SUB"}


def received(one, count=1):
    found, until = [], time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < until
        message = one.next(True)
        found += [message] if message else []
    return found


@pytest.mark.parametrize("sizes", [(0,), (1, 255, 256), (0, 0, 70_000, 3), (900_000,)])
def test_messages_go_both_ways_as_libzmq_reads_them(peer, sizes):
    theirs, ours = peer(zmq.ROUTER)
    parts = [random.Random(size).randbytes(size) for size in sizes]
    ours.send(parts)
    identity, *got = theirs.recv_multipart()
    assert got == parts
    theirs.send_multipart([identity, *parts])
    theirs.send_multipart([identity, b"next"])
    assert received(ours, 2) == [parts, [b"next"]]


@pytest.mark.parametrize("kind", [zmq.PUB, zmq.XPUB])
def test_what_is_published_arrives(peer, kind):
    theirs, ours = peer(kind)
    deadline = time.monotonic() + 10
    ours.socket.settimeout(0.05)
    while time.monotonic() < deadline:  # until the subscription is known
        theirs.send_multipart([b"topic", b"text"])
        try:
            if message := ours.next(bool(ours.socket.recv(1, socket.MSG_PEEK))):
                break
        except TimeoutError:
            pass
    assert message == [b"topic", b"text"]


GREETING = channel.GREETING
READY = channel.framed(b"\5READY", channel.COMMAND)


def served(tmp_path, content, kind="SUB", **options):
    """A Channel to a server that greets, sends ``content``, and keeps the socket."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()

    def serve():
        ours, _ = server.accept()
        try:
            for piece in content:
                ours.sendall(piece)
            ours.recv(10_000_000)
            time.sleep(0.5)
        except OSError:
            pass
        ours.close()

    threading.Thread(target=serve, daemon=True).start()
    return Channel(str(tmp_path / "s"), kind, LARGEST, **options)


def endless(piece):
    while True:
        yield piece


PART, LONG_PART = channel.framed(b"x" * 100, 1), channel.framed(b"x" * 10_000, 1)
FLOODS = {  # of a peer: (what it sends after the greeting, how it is refused)
    "a length that is announced": ([struct.pack(">BQ", 2, 2**62)], "more than 1 MB"),
    "parts without end": (endless(PART * 10), "more than 64 parts"),
    "large parts without end": (endless(LONG_PART * 10), "parts|1 MB"),
    "empty parts without end": (endless(b"\1\0" * 1000), "more than 64 parts"),
    "small messages without end": (endless(b"\0\1x" * 10_000), "more messages"),
    "commands without end": (endless(b"\4\5\4PING" * 1000), "more messages"),
    "bytes without end": (endless(channel.framed(b"x" * 900_000)), "more output"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_refused_before_it_is_held(tmp_path, name):
    flood, how = FLOODS[name]
    one = served(tmp_path, (x for part in ([GREETING + READY], flood) for x in part))
    one.traffic = Traffic(20_000_000, 1000)
    largest = 0
    with pytest.raises(Refused, match=how):
        for _ in range(1_000_000):
            one.next(True)
            largest = max(largest, len(one.buffer) + one.size)
    one.close()
    assert largest < LARGEST + 2 * channel.CHUNK


@pytest.mark.parametrize(
    "greeting",
    [b"HTTP/1.1 400 Bad Request\r\n" + bytes(64), bytes(64), b"\xff" * 64, GREETING],
    ids=["http", "zeros", "ones", "nothing after the greeting"],
)
def test_a_peer_that_speaks_something_else_is_refused(tmp_path, greeting):
    with pytest.raises((Refused, TimeoutError)):
        served(tmp_path, [greeting], seconds=0.3)


# -- what is kept ----------------------------------------------------------------------


def message(kind, **content):
    return {"header": {"msg_type": kind}, "content": content}


def stream(text, name="stdout"):
    return message("stream", text=text, name=name)


def shown(data):
    return message("display_data", data=data)


def png(width=8, height=8, size=100):
    head = outputs.PNG + struct.pack(">II", width, height)
    return base64.b64encode(head + bytes(size)).decode()


def kept(messages, chars=1000, pictures=4, room=None):
    one = outputs.Kept(chars, pictures, room or outputs.Room())
    for each in messages:
        one.take(each)
    return one.finished()


def test_the_order_of_arrival_of_two_streams_does_not_matter():
    out, err = stream("a"), stream("b", "stderr")
    display = shown({"text/plain": "<C at 0x7f12ab34cd56>"})
    one = kept([out, err, out, display, err, out])
    assert one == kept([err, out, out, display, out, err])
    assert [o.get("text") for o in one] == ["aa", "b", None, "a", "b"]
    assert one[2]["data"] == {"text/plain": "<C at 0x...>"}


def test_what_is_cut_says_so_and_is_noticed():
    room = outputs.Room()
    (one,) = kept([stream("x" * 700)] * 3, room=room)
    assert one["text"] == "x" * 1000 + outputs.CUT
    assert any("cut" in sentence for sentence in room.notices)
    (one,) = kept([stream("\x1b[31m" * 5000 + "end")], room=room)
    assert one["text"].endswith(outputs.CUT)


def test_the_cells_of_a_notebook_share_the_room():
    room = outputs.Room(chars=1500, pictures=3, picture_bytes=10_000_000)
    cells = [kept([stream("x" * 600)], room=room) for _ in range(5)]
    assert sum(len(c[0]["text"]) for c in cells if c) <= 1500 + 5 * len(outputs.CUT)
    picture = shown({"image/png": png(), "text/plain": "<Figure>"})
    room = outputs.Room(pictures=3)
    kinds = [list(kept([picture], room=room)[0]["data"])[0] for _ in range(5)]
    assert kinds == ["image/png"] * 3 + ["text/plain"] * 2
    assert any("pictures" in sentence for sentence in room.notices)
    room = outputs.Room(picture_bytes=4_000_000)
    large = shown({"image/png": png(size=1_900_000), "text/plain": "<Figure>"})
    kinds = [list(kept([large], room=room)[0]["data"])[0] for _ in range(3)]
    assert kinds == ["image/png", "text/plain", "text/plain"]


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000),
        png(0, 5),
        png(2**31, 1),
        png(size=2_100_000),
        base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
        base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"<script>" * 10).decode(),
        "data:image/png;base64," + png(),
        "é" * 100,
        "A" * 10_000_000,
    ],
)
def test_what_is_no_picture_of_a_usual_size_is_no_picture(content):
    assert outputs.is_png(png()) and not outputs.is_png(content)
