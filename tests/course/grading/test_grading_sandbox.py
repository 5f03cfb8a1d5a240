"""The sandbox's promises: memory, keys, system calls, this machine's files, time.

Each is tried with a harmless stand-in.  `test_grading_user.py` runs these as an
ordinary user too.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from grading_toy import (
    CHECKS,
    DOUBLE,
    TOTAL,
    cell,
    graded,
    needs_sandbox,
    outcomes,
    release,
    submitted,
)

from course_lib.course.grading import (
    bank,
    channel,
    classroom,
    grade,
    notices,
    resources,
    sandbox,
    submission,
    syscalls,
    worker,
)
from course_lib.course.grading import release as releasing
from course_lib.course.grading.sandbox import BrokenEnvironment, KernelDied, OutOfTime
from course_lib.errors import CourseError

pytestmark = needs_sandbox
slow = pytest.mark.slow
MEMORY = dict(memory_mb=350, scratch_mb=200, file_mb=400)
no_filter = pytest.mark.skipif(syscalls.problem() is not None, reason="no libseccomp")


def told(source, seconds=20, **limits):
    """What the code in a sandbox prints."""
    limits = {"memory_mb": 400, **limits}
    with sandbox.Kernel(sandbox.Limits(**limits)) as kernel:
        ran = kernel.run(source, seconds)
    return "".join(o.get("text", "") for o in ran.outputs)


# -- memory ----------------------------------------------------------------------------

FILL = """
import os, mmap, socket, time
def fill(path, mb):
    with open(path, "wb") as f:
        for _ in range(mb): f.write(bytes(10**6))
"""
HIDDEN = {  # memory that is resident in no process, or not for long
    "files in all folders": """
for place in ("/tmp", "/box/work", "/dev/shm"): fill(place + "/x", 150)
""",
    "a file that has no name": """
f = open("/tmp/x", "wb+"); os.unlink("/tmp/x")
for _ in range(190): f.write(bytes(10**6))
f.flush(); fill("/dev/shm/y", 190)
""",
    "a file with holes, filled through a map": """
f = open("/dev/shm/x", "wb+"); f.truncate(190 * 10**6)
m = mmap.mmap(f.fileno(), 0)
for at in range(0, len(m), 4096): m[at] = 1
m.close(); fill("/tmp/y", 190)
""",
    "files without content": """
for n in range(10**6):
    os.mknod(f"/tmp/{n}")
    if n % 20_000 == 0: print(n)
""",
    "a daemon": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        x = [bytearray(10**8) for _ in range(4)]
        time.sleep(100)
    os._exit(0)
time.sleep(20)
""",
    "buffers of sockets in many processes": """
def hold():
    pairs = []
    try:
        while True:
            pairs.append(socket.socketpair())
            for s in pairs[-1]:
                s.setblocking(False)
                try:
                    while True: s.send(bytes(2**16))
                except BlockingIOError: pass
    except OSError: pass
    time.sleep(100)
for _ in range(12):
    if os.fork() == 0: hold()
time.sleep(20)
""",
}


@slow
@pytest.mark.parametrize("counted_by", ["a cgroup", "the watch"])
@pytest.mark.parametrize("name", HIDDEN)
def test_memory_that_no_process_holds_counts(name, counted_by, monkeypatch):
    if counted_by == "the watch":
        monkeypatch.setattr(resources.Group, "make", lambda limit: None)
    elif not (group := resources.Group.make(10**8)):
        pytest.skip("no memory cgroup can be made here")
    else:
        assert group.remove()
    before = psutil.virtual_memory().available
    with sandbox.Kernel(sandbox.Limits(**MEMORY)) as kernel:
        with pytest.raises(KernelDied, match="MB of memory"):
            kernel.run(FILL + HIDDEN[name] + "\ntime.sleep(5)", 30)
        assert any("memory" in sentence for sentence in kernel.room.notices)
    time.sleep(0.1)
    assert before - psutil.virtual_memory().available < 2e9  # others use it too


@no_filter
@pytest.mark.parametrize(
    "source",
    [
        "os.memfd_create('x')",
        "mmap.mmap(-1, 10**8)",
        "mmap.mmap(os.open('/dev/zero', os.O_RDWR), 10**8)",
        "libc.shmget(0, 10**8, 0o1600)",
        "fcntl.fcntl(os.pipe()[1], 1031, 2**20)",
        "os.setxattr('/tmp/x', 'user.a', bytes(60_000))",
        "libc.mq_open(b'/x', 0o102, 0o600, None)",
    ],
)
def test_memory_that_cannot_be_counted_is_refused(one_kernel, source):
    code = f"""
import ctypes, fcntl, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
open("/tmp/x", "w").close()
try: result = {source}
except (OSError, ValueError) as error: result = -1
print(result)
"""
    ran = one_kernel.run(code, 10)
    assert ran.outputs[0]["text"] == "-1\n", ran


@pytest.fixture(scope="module")
def one_kernel():
    with sandbox.Kernel(sandbox.Limits(memory_mb=400)) as kernel:
        yield kernel


def test_sockets_keep_the_systems_buffers(one_kernel):
    code = """
import socket
s = socket.socketpair()[0]
before = s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
try: s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
except OSError: pass
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= before)
"""
    assert one_kernel.run(code, 10).outputs[0]["text"] == "True\n"


def test_a_cgroup_of_the_second_version_is_written_as_the_system_wants(tmp_path):
    """A stand-in for the file system: its files, which a real mkdir brings along."""

    class Made(type(tmp_path)):
        def mkdir(self, *a, **k):
            super().mkdir(*a, **k)
            for name in ("memory.max", "memory.swap.max", "memory.oom.group"):
                (Path(self) / name).write_text("")
            (Path(self) / "memory.events").write_text("low 0\noom 0\noom_kill 0\n")
            (Path(self) / "cgroup.procs").write_text("")

    parent = Made(tmp_path)
    group = resources.Group.make(5 * 10**6, [(parent / "no" / "where", 2), (parent, 2)])
    read = {p.name: p.read_text() for p in group.folder.iterdir()}
    assert read["memory.max"] == "5000000" and read["memory.swap.max"] == "0"
    assert read["memory.oom.group"] == "1" and not group.overrun()
    (group.folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert group.overrun()
    command = group.joined(["/bin/cat", str(group.folder / "cgroup.procs")])
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip().isdigit()
    command[4] = str(tmp_path / "gone" / "cgroup.procs")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 125 and done.stdout == ""  # outside, nothing runs


def test_groups_of_graders_that_are_gone_are_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    old = tmp_path / f"{resources.PREFIX}-{gone.pid}-aa"
    own = tmp_path / f"{resources.PREFIX}-{os.getpid()}-bb"
    other = tmp_path / "something-1-cc"
    for folder in (old, own, other):
        folder.mkdir()
    resources.clean(tmp_path)
    assert not old.exists() and own.exists() and other.exists()


@slow
def test_a_watch_that_fails_ends_the_kernel(monkeypatch):
    with sandbox.Kernel() as kernel:

        def fails():
            raise RecursionError

        monkeypatch.setattr(kernel, "holds_too_much", fails)
        with pytest.raises(KernelDied, match="watch over its memory failed"):
            kernel.run("import time; time.sleep(10)", 8)


# -- messages --------------------------------------------------------------------------

SEND = """
session, kernel = get_ipython().kernel.session, get_ipython().kernel
def send(kind="stream", **content):
    session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent())
"""
STREAMS = {
    "messages": "while True: send(name='stdout', text='x')",
    "messages of another request": """
while True: session.send(kernel.iopub_socket, "stream", {"name": "stdout", "text": ""})
""",
    "large messages": "while True: send(name='stdout', text='x' * 3 * 10**6)",
    "prints": "while True: print('x' * 10**6)",
    "pictures": """
import base64
head = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(4) + b"IHDR"
content = base64.b64encode(head + bytes(1_500_000)).decode()
while True: send("display_data", data={"image/png": content}, metadata={})
""",
    "brackets": """
pack = session.pack
session.pack = lambda x: b"[" * 8_000_000 if x == {"n": 1} else pack(x)
while True: send("display_data", n=1)
""",
    "lists in lists": """
pack = session.pack
session.pack = lambda x: b"[" * 500_000 + b"]" * 500_000 if x == {"n": 1} else pack(x)
while True: send("display_data", n=1)
""",
    "parts of a message": """
socket = kernel.iopub_thread.socket if hasattr(kernel, "iopub_thread") else None
import zmq
while True: kernel.iopub_socket.send_multipart([b"x" * 10_000] * 500)
""",
}


@slow
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_messages_ends_in_time_and_small(name):
    before, started = psutil.Process().memory_info().rss, time.monotonic()
    largest, stop = [before], threading.Event()

    def watch():
        while not stop.wait(0.02):
            largest.append(psutil.Process().memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    record = graded(submitted(SEND + STREAMS[name], TOTAL), seconds=16)
    stop.set()
    assert max(largest) - before < 400e6
    assert outcomes(record)["double"] in ("timeout", "kernel died")
    assert outcomes(record)["total"] == "correct", record["answers"]
    assert record["points"] == 2
    assert len(json.dumps(record)) < 20_000_000
    assert time.monotonic() - started < 60


@slow
def test_the_time_is_looked_at_for_each_message():
    limits = sandbox.Limits(run_messages=10**7, run_mb=10**4)
    with sandbox.Kernel(limits) as kernel:
        kernel.traffic.bytes = kernel.traffic.messages = 10**10
        started = time.monotonic()
        with pytest.raises((OutOfTime, BrokenEnvironment)):  # or too busy a machine
            kernel.run(SEND + STREAMS["messages"], 2)
        assert time.monotonic() - started < 2 * sandbox.PATIENCE + 1


@slow
def test_the_kernels_of_a_submission_share_what_may_be_sent():
    cells = [cell(f"own{i}", "for _ in range(9): print('x' * 10**6)") for i in range(4)]
    record = graded(submitted(DOUBLE, extra=cells), notebook_mb=20, seconds=30)
    assert record["points"] == 0 and "flood" in record["notice"]
    assert "more output" in record["answers"]["double"]["reason"]


@slow
def test_a_notebook_that_takes_memory_to_read_has_a_record():
    """10 MB of text become hundreds of megabytes of objects."""
    content = b'{"cells": [' + b"[],{}," * 1_500_000 + b"[]]}"
    job = {
        "content": __import__("base64").b64encode(content).decode(),
        "release": release(),
        "checks": CHECKS,
        "seed": 1,
        "isolated": True,
    }
    one = worker.Worker()
    try:
        record = one.work(job)
        status = Path(f"/proc/{one.process.pid}/status").read_text()
    finally:
        one.close()
    assert record["outcome"] == "unreadable" and record["points"] == 0
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    assert peak < 1.5e9


@pytest.mark.slow
def test_a_worker_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(worker, "JOB_SECONDS", 1)
    job = {"content": "", "release": release(), "seed": 1, "isolated": True}
    one = worker.Worker()
    checks = CHECKS + "\nimport os, time\nif os.environ.get('SLOW'): time.sleep(60)\n"
    monkeypatch.setenv("SLOW", "1")
    threading.Timer(0.5, lambda: os.environ.pop("SLOW")).start()
    record = one.work({**job, "checks": checks})
    one.close()
    assert record["outcome"] == "timeout" and record["points"] == 0
    assert "did not finish" in record["reason"] and record["notice"]


# -- keys and system calls -------------------------------------------------------------

KEYS = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
ADD, REQUEST, KEYCTL = {"x86_64": (248, 249, 250)}.get(
    __import__("os").uname().machine, (217, 218, 219))
SESSION = -3
def add(name, text): return libc.syscall(ADD, b"user", name, text, len(text), SESSION)
def search(name): return libc.syscall(KEYCTL, 10, SESSION, b"user", name, 0)
def serial(): return libc.syscall(KEYCTL, 0, SESSION, 0)
def request(name): return libc.syscall(REQUEST, b"user", name, None, 0)
"""
KEYS_OF_A_GRADER = (
    KEYS
    + """
from course_lib.course.grading import sandbox, syscalls
assert libc.syscall(KEYCTL, 1, None) > 0 and add(b"course-secret", b"s3cret") > 0
if sys.argv[1] == "without":
    syscalls.opened = lambda: None
with sandbox.Kernel() as kernel:
    ran = kernel.run(sys.argv[2], 10)
print(ran.outputs[0]["text"] if ran.outputs else ran, serial(), search(b"from-inside"))
"""
)


@slow
@pytest.mark.parametrize("filter", ["with", "without"])
def test_no_key_of_the_session_is_seen_and_none_put_there(filter):
    inside = KEYS + "print(search(b'course-secret'), request(b'course-secret'), "
    inside += "serial(), add(b'from-inside', b'x'))"
    if libc_keyctl() < 0:
        pytest.skip("this machine has no keyrings")
    done = subprocess.run(
        [sys.executable, "-c", KEYS_OF_A_GRADER, filter, inside],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found, asked, seen, added, own, put_there = map(int, done.stdout.split())
    assert found == asked == put_there == -1 and own > 0
    assert seen not in (own,)
    if filter == "with" and not syscalls.problem():
        assert seen == added == -1


def libc_keyctl():
    space = {}
    exec(KEYS, space)
    return space["serial"]()


@no_filter
def test_calls_that_python_does_not_need_are_refused(one_kernel):
    numbers = {
        name: syscalls_number(name)
        for name in (
            "ptrace process_vm_readv process_vm_writev bpf userfaultfd perf_event_open "
            "mount umount2 pivot_root unshare setns kexec_load init_module "
            "finit_module delete_module io_uring_setup add_key request_key keyctl "
            "open_by_handle_at memfd_create pidfd_getfd kcmp clone3 fsopen move_mount "
            "swapon reboot personality vmsplice shmget"
        ).split()
    }
    code = f"""
import ctypes, errno
libc, bad = ctypes.CDLL(None, use_errno=True), []
for name, number in {numbers!r}.items():
    ctypes.set_errno(0)
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        bad.append((name, result, ctypes.get_errno()))
for flag in (0x20000, 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x02000000):
    ctypes.set_errno(0)
    if libc.syscall({syscalls_number("clone")}, flag | 17, 0, 0, 0, 0) == 0:
        libc._exit(0)
    if ctypes.get_errno() != errno.EPERM: bad.append((hex(flag), ctypes.get_errno()))
print(bad)
"""
    assert one_kernel.run(code, 10).outputs[0]["text"] == "[]\n"


def syscalls_number(name):
    import pyseccomp

    return pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)


@slow
def test_what_python_needs_is_allowed(one_kernel):
    code = """
import asyncio, concurrent.futures, multiprocessing, os, select, socket, subprocess
import tempfile, threading, numpy as np, shutil, sqlite3
assert subprocess.run(["/bin/sh", "-c", "echo hi"], capture_output=True).stdout
with concurrent.futures.ThreadPoolExecutor(3) as pool: list(pool.map(abs, range(9)))
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
m = np.memmap("/tmp/m", mode="w+", shape=100); m[:] = 1; m.flush()
shutil.copy2("/tmp/m", "/tmp/m2"); os.mkfifo("/tmp/f")
sqlite3.connect("/tmp/db").execute("create table t (x)")
server = socket.create_server(("127.0.0.1", 0)); server.close()
value = multiprocessing.Value("i", 3) if os.path.exists("/dev/shm") else None
print("all")
"""
    ran = one_kernel.run(code, 30)
    assert ran.outputs[-1].get("text") == "all\n", ran.outputs


@slow
def test_without_libseccomp_the_sandbox_says_so_and_works(monkeypatch):
    def missing():
        raise ImportError("No module named 'pyseccomp'")

    monkeypatch.setattr(syscalls, "program", missing)
    assert "pyseccomp" in syscalls.problem() and syscalls.opened() is None
    assert any("system calls" in sentence for sentence in sandbox.weaknesses())
    assert told("print('works')") == "works\n"


# -- what a sandbox sees ---------------------------------------------------------------

PLACES = ("solutions", "submitted", "grading", "autograded", "feedback", "gradebook.db")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A course in a folder, with its virtual environment; Python lies elsewhere."""
    root = tmp_path / "home" / "course"
    for name in ("data", "solutions", "submitted", ".venv"):
        (root / name).mkdir(parents=True)
    monkeypatch.setenv("COURSE_ROOT", str(root))
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))
    return root


def test_a_virtual_environment_in_the_clone_is_allowed(clone):
    sandbox.check_folders()


@pytest.mark.parametrize("case", range(9))
def test_a_sandbox_that_would_see_answers_is_refused(clone, monkeypatch, case):
    private, link = [], clone.parent / "link"
    if case == 0:  # the environment was made in the clone itself
        monkeypatch.setattr(sys, "prefix", str(clone))
    elif case == 1:  # or above it
        monkeypatch.setattr(sys, "base_prefix", str(clone.parent))
    elif case == 2:  # under another name
        link.symlink_to(clone)
        monkeypatch.setattr(sys, "prefix", str(link))
    elif case == 3:
        (clone / "data").rmdir()
        (clone / "data").symlink_to(clone)
    elif case == 4:
        (clone / "solutions").rmdir()
        (clone / "data" / "s").mkdir()
        (clone / "solutions").symlink_to(clone / "data" / "s")
    elif case == 5:
        private = [clone / "data" / "gradebook.db"]
    elif case == 6:  # the whole clone is a part of the system
        monkeypatch.setattr(sandbox, "SYSTEM", (str(clone.parent),))
    elif case == 7:
        (clone / "submitted").rmdir()
        (clone / "submitted").symlink_to(clone / ".venv")
    elif case == 8:
        (clone / "grading").symlink_to(clone / "data" / "not yet")
    with pytest.raises(BrokenEnvironment, match="would see .*\n.*\nDo: move"):
        sandbox.check_folders(private)


def test_grading_refuses_before_anything_runs(clone, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(clone))
    with pytest.raises(CourseError, match="would see"), sandbox.Kernel():
        pass
    record = graded(submitted(DOUBLE))
    assert record["outcome"] == grade.BROKEN and record["points"] == 0
    assert "would see" in record["reason"]


def test_the_gradebook_named_on_the_command_line_is_looked_at(clone):
    assert classroom.files_of(f"sqlite:///{clone}/x.db") == [clone / "x.db"]
    assert classroom.files_of("postgresql+psycopg2://grader@host/db") == []
    assert classroom.files_of(None) == []


@slow
def test_an_exchange_in_a_folder_that_is_seen_is_hidden(clone, monkeypatch):
    """nbgrader's own default lies below /usr."""
    inbound = clone / "data" / "exchange" / "inbound"
    inbound.mkdir(parents=True)
    (inbound / "ann.ipynb").write_text("work")
    (clone / "data" / "seen.txt").write_text("seen")
    for folder in (clone.parent.parent, clone.parent, clone):
        folder.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", os.path.realpath(sys.exec_prefix))
    monkeypatch.setenv("COURSE_EXCHANGE", str(clone / "data" / "exchange"))
    said = told(
        f"import os\nfor path, _, names in os.walk({str(clone)!r}): print(names)\n"
        f"try: open({str(clone / 'data' / 'exchange' / 'x')!r}, 'w')\n"
        "except OSError: print('refused')"
    )
    assert "seen.txt" in said and "ann.ipynb" not in said and "refused" in said


# -- this machine's files --------------------------------------------------------------


def test_nothing_of_this_machine_can_be_written_to(one_kernel):
    """Of what is mounted, only file systems that end with the sandbox are writable."""
    code = """
import os
kinds = {}
for line in open("/proc/self/mountinfo"):
    front, _, back = line.partition(" - ")
    where, options = front.split()[4:6]
    kinds[where] = (back.split()[0], options.split(",")[0])
own = ("tmpfs", "proc", "devpts", "mqueue")
print([w for w, (kind, how) in kinds.items() if how == "rw" and kind not in own
       and not w.startswith("/dev/")])
found = []
for folder in ("/", "/usr", "/dev", "/proc/sys/kernel", "/box/ipc", *kinds):
    try:
        with open(os.path.join(folder, "course-x"), "w") as f: f.write("x")
        found.append(os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize)
    except OSError: pass
print(max(found) <= 140e6, len(found))
"""
    said = one_kernel.run(code, 20).outputs[0]["text"].split("\n")
    assert said[0] == "[]" and said[1].startswith("True"), said


@slow
def test_folders_as_deep_as_they_come_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep = """
import os
for place in ("/tmp", "/box/work", "/box/ipc"):
    os.chdir(place)
    for _ in range(5000):
        os.mkdir("d"); os.chdir("d")
print("deep")
"""
    with sandbox.Kernel(sandbox.Limits(memory_mb=400)) as kernel:
        assert kernel.run(deep, 20).outputs[0]["text"] == "deep\n"
        with pytest.raises(KernelDied, match="MB of memory"):
            kernel.run("x = bytearray(10**9)", 20)
        started = time.monotonic()
    assert time.monotonic() - started < 5 and not list(tmp_path.iterdir())
    with sandbox.Kernel(isolated=False) as kernel:
        shallower = deep.replace('("/tmp", "/box/work", "/box/ipc")', '(".",)')
        kernel.run(shallower.replace("5000", "1100"), 20)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["link", "folder", "file", "pipe", "link to a link"])
def test_what_stands_in_place_of_a_socket_is_not_connected_to(tmp_path, what):
    """Neither by path nor, later, by a library that connects again."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "host"))
    server.listen()
    server.settimeout(0.3)
    os.chmod(tmp_path / "host", 0o777)
    place = tmp_path / "k-1"
    if what.startswith("link"):
        place.symlink_to(tmp_path / "host")
        if what == "link to a link":
            place.rename(tmp_path / "other")
            place.symlink_to(tmp_path / "other")
    elif what == "folder":
        place.mkdir()
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place.write_text("")
    kernel = sandbox.Kernel(isolated=False)
    kernel.folder, kernel.process = tmp_path, psutil.Process()
    with pytest.raises(OSError):
        kernel.connect(os.getpid(), "shell", "DEALER")
    with pytest.raises(TimeoutError):
        server.accept()


def test_a_socket_of_somebody_else_is_not_used(tmp_path):
    code = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); "
    code += "s.bind(sys.argv[1]); s.listen(); print(flush=True); c, _ = s.accept(); "
    code += "c.sendall(bytes.fromhex(sys.argv[2])); time.sleep(5)"
    greeting, ready = channel.GREETING, channel.framed(b"\5READY", 4)
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "k-1"), (greeting + ready).hex()],
        stdout=subprocess.PIPE,
    )
    other.stdout.readline()
    own = subprocess.Popen(["sleep", "20"])
    kernel = sandbox.Kernel(isolated=False)
    kernel.folder, kernel.process = tmp_path, own
    try:
        with pytest.raises(OSError, match="is not the kernel's"):
            kernel.connect(own.pid, "shell", "DEALER")
    finally:
        for process in (own, other):
            process.kill()
            process.wait()
        other.stdout.close()


@slow
def test_sockets_that_are_replaced_later_are_never_used():
    code = """
import os
for n in range(1, 6):
    os.unlink(f"/box/ipc/k-{n}"); os.symlink("/run/course-x", f"/box/ipc/k-{n}")
print(sorted(os.listdir("/box/ipc")))
"""
    with sandbox.Kernel() as kernel:
        kernel.run(code, 10)
        assert kernel.run("print(1)", 10).outputs[0]["text"] == "1\n"


# -- time ------------------------------------------------------------------------------


def imports(source):
    public = release()
    public["cells"][1]["source"] = source
    return public


def graded_with(public, content, seconds=30):
    limits = sandbox.Limits(memory_mb=400)
    return grade.grade(content, public, CHECKS, 1, limits=limits, seconds=seconds)


@slow
@pytest.mark.parametrize(
    "source", ["import time; time.sleep(9)", "import os; os._exit(1)"]
)
def test_a_released_cell_that_does_not_end_is_a_broken_environment(monkeypatch, source):
    monkeypatch.setattr(grade, "CELL_SECONDS", 0.5)
    record = graded_with(imports(source), submitted(DOUBLE, TOTAL))
    assert record["outcome"] == grade.BROKEN and record["points"] == 0
    assert set(outcomes(record).values()) == {grade.BROKEN}
    assert "imports" in record["reason"]


@slow
@pytest.mark.parametrize("problem", [OutOfTime(), KernelDied("it ended by itself")])
def test_a_released_cell_that_fails_once_is_run_again(monkeypatch, problem):
    whole, failures = sandbox.Kernel.run, []

    def run(self, code, seconds, ask=None):
        if code == "import math" and not failures:
            failures.append(code)
            self.end("a stand-in for a busy machine")
            raise problem
        return whole(self, code, seconds, ask)

    monkeypatch.setattr(sandbox.Kernel, "run", run)
    record = graded(submitted(DOUBLE, TOTAL))
    assert failures and record["points"] == 5 and record["outcome"] == "graded"


@slow
def test_a_released_cell_stopped_by_a_learners_own_gives_no_points(monkeypatch):
    """It ends when it runs alone: the machine is not to blame."""
    monkeypatch.setattr(grade, "CELL_SECONDS", 1.0)
    own = cell("own", "import builtins, time\nreal = builtins.__import__\n")
    own["source"] += "def slow(name, *a, **k):\n    if name == 'math': time.sleep(9)\n"
    own["source"] += "    return real(name, *a, **k)\nbuiltins.__import__ = slow"
    notebook = json.loads(submitted(DOUBLE, TOTAL))
    notebook["cells"].insert(0, own)
    record = graded(json.dumps(notebook).encode())
    assert record["outcome"] == "graded" and record["points"] == 0
    assert outcomes(record)["double"] == outcomes(record)["total"] == "timeout"
    assert "released cell" in record["notice"]


class Still:
    """A stand-in for a kernel: what its clock reads."""

    inner = 1
    process = psutil.Process()


@pytest.mark.parametrize(
    "waited, used, then, ends",
    [
        (0, 0, 1.1, OutOfTime),  # it slept
        (1.0, 0.1, 1.1, None),  # it waited for a processor
        (1.0, 1.2, 1.1, OutOfTime),  # because of its own processes
        (5.85, 0.05, 5.9, None),
        (6.0, 0.1, 6.1, BrokenEnvironment),
        (0.5, 0.5, 0.9, None),
    ],
)
def test_time_that_the_machine_took_does_not_count(
    monkeypatch, waited, used, then, ends
):
    now = {"time": 100.0, "waited": 7.0, "cpu": 5.0}
    monkeypatch.setattr(resources, "waited_seconds", lambda pid: now["waited"])
    monkeypatch.setattr(resources, "cpu_seconds", lambda pids: now["cpu"])
    monkeypatch.setattr(time, "monotonic", lambda: now["time"])
    clock = sandbox.Clock(Still, 1.0)
    now["time"] += then
    now["waited"] += waited
    now["cpu"] += used
    if ends:
        with pytest.raises(ends):
            clock.check()
    else:
        clock.check()
    assert clock.own() == pytest.approx(max(then - waited, min(used, then), 0))


CROWD = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
children = []
for _ in range(12):
    children.append(os.fork())
    if not children[-1]:
        while True: pass
end = time.monotonic() + 3
while time.monotonic() < end: pass
for child in children:
    os.kill(child, 9)
    os.waitpid(child, 0)
print(sum(os.times()[:4]))
"""


@slow
def test_processes_that_keep_their_own_cell_waiting_cost_its_time():
    for _ in range(3):
        with sandbox.Kernel(sandbox.Limits()) as kernel:
            before, start = kernel.spent, time.monotonic()
            clock = sandbox.Clock(kernel, 20)
            ran = kernel.run(CROWD, 20)
            ready = time.monotonic() - start - (clock.now_waited() - clock.waited)
        assert not ran.error
        said = [o["text"] for o in ran.outputs if o.get("name") == "stdout"]
        used = float("".join(said))
        if used > ready + 1:  # else this shows nothing
            assert kernel.spent - before > ready + 0.5
            return
    pytest.skip("other programs took the core from the processes of the cell")


@slow
def test_a_busy_machine_costs_no_points():
    """Six processes that compute, and an answer that needs most of its time."""
    work = "def double(x):\n    import time\n    used = time.process_time() + 0.4\n"
    work += "    while time.process_time() < used: pass\n    return 2 * x"
    hogs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)
    ]
    try:
        record = graded(submitted(work), seconds=3.0)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert outcomes(record)["double"] in ("correct", grade.BROKEN), record["answers"]
    if outcomes(record)["double"] == grade.BROKEN:
        assert "busy" in record["reason"] and record["points"] == 0


def test_what_the_environment_broke_is_tried_again_after_the_others(monkeypatch):
    tried = []

    def here(jobs, parallel):
        for job in jobs:
            tried.append((job["student"], parallel))
            first = tried.count((job["student"], 2)) and parallel == 2
            broken = job["student"] == "cem" or (job["student"] == "bob" and first)
            yield job, {"outcome": grade.BROKEN if broken else "graded"}

    monkeypatch.setattr(classroom, "here", here)
    jobs = [{"student": name} for name in ("ann", "bob", "cem", "dan")]
    outcomes = classroom.tried_again(jobs, 2, None)
    found = [(j["student"], r["outcome"]) for j, r in outcomes]
    assert found == [
        ("ann", "graded"),
        ("dan", "graded"),
        ("bob", "graded"),
        ("cem", grade.BROKEN),
    ]
    assert tried[-2:] == [("bob", 1), ("cem", 1)]


# -- records ---------------------------------------------------------------------------


@slow
def test_outputs_of_cells_that_run_after_a_check_are_dropped(monkeypatch):
    """A cell that is run again could show what a check has asked."""
    whole, runs = sandbox.Kernel.run, []

    def run(self, code, seconds, ask=None):
        ran = whole(self, code, seconds, ask)
        if "def total" in code:
            runs.append(code)
            text = f"run {len(runs)}"
            ran.outputs = [{"output_type": "stream", "name": "stdout", "text": text}]
        return ran

    monkeypatch.setattr(sandbox.Kernel, "run", run)
    dies = "import os\ndef double(x): os._exit(1)"
    record = graded(submitted(dies, TOTAL))
    assert len(runs) == 2 and outcomes(record)["total"] == "correct"
    (total,) = [c for c in record["notebook"]["cells"] if c["id"] == "total"]
    assert total["outputs"][0]["text"] == "run 1"


MIXED = """
import random, sys, warnings, numpy as np
from IPython.display import display
for i in range(20):
    print(i); print(-i, file=sys.stderr)
    if i == 9: display(object())
warnings.warn("old")
print(random.random(), np.random.rand(), hash("x"), object, lambda: 1, len({1, 2}))
print({"b", "a", "c"}, np.random.permutation(5))
1 / 0
"""


@slow
def test_two_runs_of_a_submission_give_the_same_record():
    dies = "import os\ndef total(x): os._exit(1)"
    content = submitted(DOUBLE, dies, "Why?", extra=[cell("own", MIXED)])
    public = imports("import numpy")  # as all exercises do
    one, two = (graded_with(public, content) for _ in range(2))
    assert one.pop("seconds") > 0 and two.pop("seconds") > 0
    assert json.dumps(one) == json.dumps(two)
    shown = [c["outputs"] for c in one["notebook"]["cells"] if "outputs" in c]
    assert "ZeroDivisionError" in json.dumps(shown)


UNUSUAL = {  # torch without its import, which takes seconds
    "import ctypes": "memory of the process",
    "if False:\n    torch.Tensor.add_ = lambda self, x: self": "methods of others",
    "import sys\nsys._getframe(1)": "frames",
    "get_ipython().kernel.session": "the kernel",
}


@slow
def test_what_is_unusual_is_noticed_and_costs_nothing():
    """Alone, and all together beside a right answer and what is seen as it runs."""
    for source, notice in UNUSUAL.items():
        (found,) = notices.found(submitted(extra=[cell("own", source)]), release())
        assert notice in found
    flood = "for _ in range(1000): print('x' * 1000)"
    own = [cell(f"own{i}", source) for i, source in enumerate((*UNUSUAL, flood))]
    record = graded(submitted(DOUBLE, extra=own))
    missing = [n for n in (*UNUSUAL.values(), "flood") if n not in record["notice"]]
    assert missing == [] and record["points"] == 3


@slow
@pytest.mark.parametrize(
    "source, notice",
    [
        ("from course_lib.course.grading import plain\nplain.x = str", "grader's own"),
        ("import sys\ndef double(x): sys.exit(0)", "odd packing"),
    ],
)
def test_what_meddles_with_the_check_is_noticed(source, notice):
    own = [cell("own", source)]
    record = graded(submitted(source if "double" in source else DOUBLE, extra=own))
    assert notice in record["notice"]


@pytest.mark.parametrize(
    "source, notice",
    [
        ("setattr(torch.Tensor, 'clone', mine)", "methods of others"),
        ("import math\nsetattr( math, 'log', mine)", "methods of others"),
        ("import base64\nbase64.b64encode = lambda b: b", "methods of others"),
        ("exec(bytes([49]))", "code made of text"),
        ("m = __import__('json')", "code made of text"),
        ("%%bash\necho 1", "code made of text"),
        ("!echo 1", "code made of text"),
        ("import \uff43types", "memory of the process"),
        ("x = 1 # \u202e done \u2066", "hidden text"),
        ("x = 1" + " " * 300 + "; y = 2", "hidden text"),
        ("x\u200b = 1", "hidden text"),
    ],
)
def test_what_a_reader_would_miss_is_noticed(source, notice):
    found = notices.found(submitted(DOUBLE, extra=[cell("own", source)]), release())
    assert any(notice in sentence for sentence in found), found


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()\nre.compile('x')\ntorch.compile(model)",
        "assert 1 != 2\nsetattr(self, 'a', 1)",
        "x = [" + "1, " * 200 + "]",
        "name = '\u05d0\u05d1 \u0627\u0628 \u200d'",
        "if True:\n" + " " * 250 + "x = 1",
    ],
)
def test_what_looks_alike_is_not_noticed(source):
    content = submitted(DOUBLE, extra=[cell("own", source)])
    assert notices.found(content, release()) == set()


@slow
def test_what_is_usual_is_not_noticed():
    record = graded(submitted(DOUBLE, TOTAL, "Because."))
    assert record["notice"] == "" and record["points"] == 5


def test_nothing_is_unusual_in_references_and_in_the_bank():
    for lesson in releasing.lessons():
        public = submission.load_release(releasing.released(lesson))
        content = (lesson / f"{lesson.name}.ipynb").read_bytes()
        assert notices.found(content, public) == set()
        for entry in bank.entries(lesson):
            named = [n for n, p in notices.PATTERNS.items() if p.search(entry.source)]
            looks_up = "_getframe" in entry.source  # a wrong answer that peeks
            assert not looks_up or entry.hint
            assert named == looks_up * ["frames of callers"], entry.source


@slow
def test_locked_cells_that_were_changed_are_noticed():
    notebook = json.loads(submitted(DOUBLE))
    notebook["cells"][1]["source"] = "import math, os"
    notebook["cells"][3]["source"] = "# a comment\nassert double(1) == 2"
    record = graded(json.dumps(notebook).encode())
    assert record["notice"] == "hidden changes: locked cells differ: imports"
    assert record["points"] == 3
