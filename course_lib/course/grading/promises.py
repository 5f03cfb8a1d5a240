"""What grading promises, each tried for real on this machine: `course doctor`.

A probe runs harmless code in the same sandbox as submissions do, and says what it found
there.  SECURITY.md explains the promises; the tests attack them in many more ways.
"""

import contextlib
import ctypes
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from course_lib import paths
from course_lib.course.grading.sandbox import Kernel, KernelDied, Limits, OutOfTime

SECONDS = 20.0  # for the code of one probe
LIMITS = Limits(memory_mb=600, scratch_mb=40, file_mb=20, processes=80)
KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}  # numbers of add_key, keyctl


@dataclass(frozen=True)
class Tried:
    """What a probe found: whether the promise holds, None when it cannot be tried."""

    holds: bool | None
    found: str


# -- inside the sandbox: each probe sets `wrong`, a text, where a promise is broken ----

INSIDE = tomllib.loads(Path(__file__).with_name("probes.toml").read_text("utf-8"))
FRAME = """
GIVEN = {given!r}
def probe():
    wrong, note = "", ""
    {code}
    return wrong, note
import json
try:
    print(json.dumps(probe()))
except Exception as error:
    print(json.dumps([f"{{type(error).__name__}}: {{error}}", ""]))
"""


def _printed(kernel: Kernel, code: str) -> str:
    """What a piece of code printed in the sandbox."""
    outputs = kernel.run(code, SECONDS).outputs
    return "".join(o.get("text", "") for o in outputs if o["output_type"] == "stream")


def found_inside(kernel: Kernel, name: str, given: dict) -> Tried:
    """What one probe of `INSIDE` says; ``given``: `surroundings` that it looks for."""
    if name == "a fresh keyring" and not given["key"]:
        return Tried(None, "this machine has no keyrings to try it with")
    code = INSIDE[name].strip().replace("\n", "\n    ")
    try:
        said = _printed(kernel, FRAME.format(given=given, code=code))
        wrong, note = json.loads(said)
    except (KernelDied, OutOfTime, ValueError) as problem:
        return Tried(False, f"the probe ended early ({type(problem).__name__})")
    return Tried(not wrong, wrong or note)


# -- outside: what the probes look for -------------------------------------------------


@contextlib.contextmanager
def surroundings() -> Iterator[dict]:
    """A server, a file, a variable, a process and a key that nobody inside may find."""
    token = secrets.token_hex(12)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="course-"))
        secret = Path(folder) / "secret.txt"
        secret.write_text(token)
        os.environ["COURSE_PROBE"] = token
        stack.callback(os.environ.pop, "COURSE_PROBE", None)
        sleeper = [sys.executable, "-I", "-c", "import time; time.sleep(120)", token]
        process = subprocess.Popen(sleeper, stdin=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        keyring, key = stack.enter_context(_key(token))
        root, home = paths.ROOT, Path.home()
        private = [secret, home, root / "nbgrader_config.py", Path("/etc/shadow")]
        for name in ("solutions", "submitted", "autograded", "grading", "gradebook.db"):
            private.append(root / name)
        inside = Path(sys.prefix), Path(sys.base_prefix), root / "data"
        private = [  # not what leads to something that the sandbox shows
            path
            for path in private
            if path.exists() and not any(one.is_relative_to(path) for one in inside)
        ]
        yield {
            "token": token,
            "port": server.getsockname()[1],
            "files": [str(path) for path in private],
            "scratch_mb": LIMITS.scratch_mb,
            "processes": LIMITS.processes,
            "keyctl": KEYCTL.get(platform.machine(), (0, 0)),
            "keyring": keyring,
            "key": key,
        }


@contextlib.contextmanager
def _key(content: str) -> Iterator[tuple[int, int]]:
    """A key in this session's keyring: their numbers, zeros where there is none."""
    calls = KEYCTL.get(platform.machine())
    if sys.platform != "linux" or not calls:
        yield 0, 0
        return
    libc, (add_key, keyctl) = ctypes.CDLL(None, use_errno=True), calls
    text = content.encode()
    key = libc.syscall(add_key, b"user", b"course-probe", text, len(text), -3)
    keyring = libc.syscall(keyctl, 0, -3, 0)
    try:
        yield max(keyring, 0), max(key, 0)
    finally:
        if key > 0:
            libc.syscall(keyctl, 9, key, -3)  # unlinked


# -- sandboxes that do not survive their probe -----------------------------------------


def _is_counted(code: str) -> Tried:
    """Code that takes more memory than it may, and says so when it has it."""
    try:
        with Kernel(LIMITS) as kernel:
            code += "\nimport time\ntime.sleep(2)\nprint('held')"
            said = _printed(kernel, code)
    except KernelDied:
        return Tried(True, "")
    except OutOfTime:
        return Tried(False, "the probe did not end")
    held = "held" in said
    return Tried(not held, "more than the limit could be held" if held else "")


def memory() -> Tried:
    """Memory of its processes counts."""
    return _is_counted("data = b'x' * (2 * 10**9)")


def other_memory() -> Tried:
    """Memory counts that belongs to no process: a file without a name."""
    return _is_counted(
        "import os, mmap\n"
        "files = [os.memfd_create(f'f{n}') for n in range(100)]\n"
        "for file in files:\n"
        "    for _ in range(15):\n"
        "        os.write(file, bytes(10**6))"
    )


def time_limit() -> Tried:
    """A loop without an end is ended, with all its processes."""
    started = time.monotonic()
    with Kernel(LIMITS) as kernel:
        try:
            kernel.run("while True: pass", 1.0)
            return Tried(False, "a loop came to an end by itself")
        except (OutOfTime, KernelDied):
            took = time.monotonic() - started
            ended = kernel.process.poll() is not None
            return Tried(ended, "" if ended else f"it was running after {took:.0f} s")


DAEMON = """
import subprocess, sys
code = "import os, time; os.setsid(); os.fork() and os._exit(0); time.sleep(9)"
subprocess.Popen([sys.executable, "-I", "-c", code, {token!r}])
import time
time.sleep(0.5)
"""


def nothing_stays() -> Tried:
    """A process that a submission starts ends with its sandbox."""
    import psutil

    token = f"probe-{secrets.token_hex(8)}"

    def running() -> bool:
        every = psutil.process_iter(["cmdline"])
        return any(token in (process.info["cmdline"] or ()) for process in every)

    with Kernel(LIMITS) as kernel:
        kernel.run(DAEMON.format(token=token), SECONDS)
        started = running()
    for _ in range(20):
        if not running():
            return Tried(started, "" if started else "its process could not be started")
        time.sleep(0.1)
    return Tried(False, "a process is still running")


def bounded_output() -> Tried:
    """A flood of prints stays small."""
    with Kernel(LIMITS) as kernel:
        try:
            said = _printed(kernel, "for _ in range(10**5): print('x' * 50)")
        except (OutOfTime, KernelDied):
            return Tried(True, "")
    fits = len(said) <= LIMITS.output_chars + 100
    return Tried(fits, "" if fits else f"{len(said):,} characters came out")


OUTSIDE: dict[str, Callable[[], Tried]] = {
    "memory is limited": memory,
    "memory outside of processes is limited": other_memory,
    "time is limited": time_limit,
    "no process stays": nothing_stays,
    "output is limited": bounded_output,
}
PROMISES = (*INSIDE, *OUTSIDE)


@cache
def try_all() -> dict[str, Tried]:
    """{promise: what its probe found}, tried once in a process; about 8 s.

    Raises CourseError where no sandbox starts.
    """
    found = {}
    with surroundings() as given, Kernel(LIMITS) as kernel:
        for name in INSIDE:
            found[name] = found_inside(kernel, name, given)
    for name, probe in OUTSIDE.items():
        found[name] = probe()
    return found
