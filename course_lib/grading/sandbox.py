"""A Jupyter kernel in a sandbox: no network, no files of others, limits on everything.

Linux: bubblewrap with namespaces of its own, an empty environment, an unprivileged
user, a working folder in memory; the kernel talks over sockets in a folder of its own
(`transport=ipc`).  Elsewhere, or without bubblewrap, only behind ``isolated=False``:
limits alone, which are no security.

What arrives from the kernel is hostile: messages are bounded in size and number, and a
message that cannot be read ends the kernel.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError

INSTALL = (
    "Do: install bubblewrap (Debian and Ubuntu: `apt-get install bubblewrap`), or "
    "grade in a Linux container; `--without-sandbox` runs submissions unprotected, for "
    "code that you have read."
)
LIBRARY = Path(__file__).resolve().parents[1]  # this very course_lib
FIRST_UID = 61_000  # of the sandboxes, where the grader is root


class KernelDied(Exception):
    """The kernel ended, or said something that cannot be read."""


class OutOfTime(Exception):
    """The time for this piece of code is over; the kernel has been ended."""


class BrokenEnvironment(CourseError):
    """The sandbox does not start, whatever the submission says."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use; each is enforced from outside or by the system."""

    memory_mb: int = 3000  # resident, of all its processes
    address_gb: int = 48  # address space of one process; torch maps a lot
    cpu_seconds: int = 300  # of one process
    processes: int = 150  # and threads
    file_mb: int = 64  # one file
    scratch_mb: int = 128  # all files of the working folder
    open_files: int = 256
    message_mb: int = 12  # one message to the grader
    output_chars: int = 20_000  # kept of a cell
    images: int = 4  # kept of a cell


# -- the command ----------------------------------------------------------------------

BOOT = """\
import os, resource, sys
def limit(name, value):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
uid, cpu, gb, mb, processes, files = map(int, sys.argv[1:7])
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
limit("CORE", 0); limit("CPU", cpu); limit("FSIZE", mb * 10**6)
limit("AS", gb * 2**30); limit("NOFILE", files)
if processes:
    limit("NPROC", processes)
sys.path.append(sys.argv[8])
sys.argv = ["kernel", "-f", sys.argv[7], "--log-level=CRITICAL"]
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


def bubblewrap() -> str | None:
    """The path of the bwrap command; None when it is not installed."""
    return shutil.which("bwrap") if sys.platform == "linux" else None


def readable_folders() -> list[Path]:
    """What a sandbox sees of this machine beside the system: Python and the course.

    Not the repository as a whole: neither solutions nor checks are in there.
    """
    root = paths.ROOT
    found = [Path(sys.base_prefix), Path(sys.prefix)]
    found += [LIBRARY, root / "course_lib", root / "data"]
    return list(dict.fromkeys(path for path in found if path.is_dir()))


def wrapped(command: list[str], folder: Path, limits: Limits, as_root: bool):
    """The bwrap command line that runs ``command`` with ``folder`` as /box/ipc."""
    scratch = str(limits.scratch_mb * 10**6)
    line = [bubblewrap(), "--die-with-parent", "--new-session", "--clearenv"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    line += ["--unshare-cgroup-try", "--hostname", "learner"]
    if as_root:  # the boot code gives the rights up itself
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID"]
        line += ["--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    for system in ("/usr", "/lib", "/lib64", "/bin", "/sbin"):
        if Path(system).is_symlink():
            line += ["--symlink", os.readlink(system), system]
        elif Path(system).is_dir():
            line += ["--ro-bind", system, system]
    for system in ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives"):
        line += ["--ro-bind-try", system, system]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for where in ("/tmp", "/box", "/dev/shm"):
        line += ["--perms", "1777", "--size", scratch, "--tmpfs", where]
    made = {Path("/"), Path("/tmp"), Path("/usr")}
    for path in readable_folders():
        for parent in reversed(path.parents):
            if parent not in made:  # otherwise only root might pass through
                line += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        line += ["--ro-bind", str(path), str(path)]
    line += ["--dir", "/box/work", "--chmod", "0777", "/box/work"]
    line += ["--bind", str(folder), "/box/ipc", "--chdir", "/box/work"]
    line += ["--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in {**ENVIRONMENT, "COURSE_ROOT": str(paths.ROOT)}.items():
        line += ["--setenv", name, value]
    return [*line, "--", *command]


def probe(timeout: float = 20) -> str | None:
    """Why no sandbox starts here, in one sentence; None when one does.  Tried for real.

    Ubuntu 24.04 needs an AppArmor profile for bwrap, containers need user namespaces.
    """
    if sys.platform != "linux":
        return f"bubblewrap runs on Linux only, this is {sys.platform}"
    if not bubblewrap():
        return "bubblewrap (the command bwrap) is not installed"
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        os.chmod(folder, 0o755)
        test = [sys.executable, "-I", "-c", "import socket; print('inside')"]
        command = wrapped(test, Path(folder), Limits(), os.geteuid() == 0)
        try:
            tried = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout
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


def require() -> None:
    """Raise BrokenEnvironment where bubblewrap is not installed; see `probe`."""
    if not bubblewrap():
        raise BrokenEnvironment(
            f"No sandbox: {probe()}.\nExpected: bubblewrap, so that submissions "
            f"can do no harm.\n{INSTALL}"
        )


# -- the kernel -----------------------------------------------------------------------


@dataclass
class Ran:
    """What a piece of code did: outputs (nbformat, bounded), its error, its answer."""

    outputs: list
    error: str | None  # the class name, which the learner chooses: never shown
    answer: str | None  # text of the user expression that was asked for


class Kernel:
    """A kernel in a sandbox: ``with Kernel() as kernel: kernel.run("1 + 1", 5)``.

    ``isolated=False``: without bubblewrap, limits alone; that is no security.  Raises
    BrokenEnvironment when no kernel comes up within ``start_seconds``.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        isolated: bool = True,
        start_seconds: float = 60,
    ):
        self.limits, self.isolated = limits or Limits(), isolated
        self.start_seconds = start_seconds
        self.process = self.client = self.ended = None
        self._done = threading.Event()

    def __enter__(self) -> Kernel:
        if self.isolated:
            require()
        self.folder = Path(tempfile.mkdtemp(prefix="cg-"))
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _start(self) -> None:
        import zmq
        from jupyter_client import BlockingKernelClient

        inside = Path("/box/ipc") if self.isolated else self.folder
        ports = {f"{n}_port": i for i, n in enumerate(CHANNELS, 1)}
        info = {
            **ports,
            "transport": "ipc",
            "key": secrets.token_hex(32),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
        }
        connection = self.folder / "kernel.json"
        connection.write_text(json.dumps({**info, "ip": str(inside / "k")}), "utf-8")
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0 and self.isolated
        uid = FIRST_UID + secrets.randbelow(4000) if is_root else 0
        if is_root:
            for path in (connection, self.folder):
                os.chown(path, uid, uid)
        limits = self.limits
        numbers = [uid, limits.cpu_seconds, limits.address_gb, limits.file_mb]
        numbers += [limits.processes if self.isolated else 0, limits.open_files]
        boot = [sys.executable, "-I", "-c", BOOT, *map(str, numbers)]
        boot += [str(inside / "kernel.json"), str(LIBRARY.parent)]
        work, environment = None, None
        if self.isolated:
            boot = wrapped(boot, self.folder, limits, is_root)
            environment = {"PATH": os.environ.get("PATH", "/usr/bin")}
        else:
            work = self.folder / "work"
            work.mkdir()
            own = {"HOME", "PATH", "TMPDIR", "COURSE_PROFILE"}
            environment = {k: v for k, v in ENVIRONMENT.items() if k not in own}
            environment = {**os.environ, **environment, "HOME": str(work)}
        self.process = subprocess.Popen(
            boot,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        context = zmq.Context()  # sockets of this kernel only, with bounds on messages
        context.setsockopt(zmq.MAXMSGSIZE, limits.message_mb * 10**6)
        context.setsockopt(zmq.RCVHWM, 40)
        context.setsockopt(zmq.LINGER, 0)
        self.context = context
        self.client = BlockingKernelClient(context=context)
        self.client.load_connection_info({**info, "ip": str(self.folder / "k")})
        self.client.start_channels(shell=True, iopub=True, stdin=False, hb=False)
        threading.Thread(target=self._watch, daemon=True).start()
        deadline = time.monotonic() + self.start_seconds
        try:
            while True:  # the first requests may come before the kernel listens
                try:
                    self.run("None", seconds=1.0, end=False)
                    break
                except OutOfTime:
                    if time.monotonic() > deadline:
                        raise KernelDied("it did not answer") from None
        except KernelDied as error:
            raise BrokenEnvironment(
                f"No kernel started in the sandbox: {error}.\nExpected: one within "
                f"{self.start_seconds:g} s.\nDo: run `course doctor`."
            ) from None
        if is_root:  # its sockets are there: nothing more is to be written
            os.chown(self.folder, 0, 0)
            os.chmod(self.folder, 0o555)

    def _watch(self) -> None:
        """End the kernel when it, and all that it started, hold too much."""
        import psutil

        while not self._done.wait(0.2):
            total = 0
            try:
                root = psutil.Process(self.process.pid)
                for process in [root, *root.children(recursive=True)]:
                    try:
                        total += process.memory_info().rss
                    except psutil.Error:
                        pass
            except psutil.Error:
                return
            if total > self.limits.memory_mb * 10**6:
                self.end(f"more than {self.limits.memory_mb} MB of memory")
            elif _size(self.folder) > 2 * self.limits.scratch_mb * 10**6:
                self.end(f"more than {self.limits.scratch_mb} MB of files")

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
        """End the kernel and remove its folder; may be called again."""
        self._done.set()
        self.end("closed")
        if self.client:
            self.client.stop_channels()
            self.context.destroy(linger=0)
            self.client = None
        if self.folder.exists():
            os.chmod(self.folder, 0o700)
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(
        self, code: str, seconds: float, ask: str | None = None, end: bool = True
    ) -> Ran:
        """Run code, and evaluate the expression ``ask`` afterwards.

        Raises OutOfTime after ``seconds`` (the kernel is ended unless ``end`` is
        False) and KernelDied when it is gone or sends what cannot be read.
        """
        if self.ended:
            raise KernelDied(self.ended)
        deadline = time.monotonic() + seconds
        kept = _Kept(self.limits)
        try:
            request = self.client.execute(
                code,
                store_history=ask is None and end,
                user_expressions={"answer": ask} if ask else {},
                allow_stdin=False,
                stop_on_error=False,
            )
            reply = self._reply(request, kept, deadline)
        except (KernelDied, OutOfTime) as problem:
            if end or isinstance(problem, KernelDied):
                self.end("out of time" if isinstance(problem, OutOfTime) else "died")
            raise
        except Exception as problem:  # whatever a hostile message makes of the client
            self.end("unreadable message")
            raise KernelDied(f"unreadable message ({type(problem).__name__})") from None
        return reply

    def _reply(self, request: str, kept: _Kept, deadline: float) -> Ran:
        import zmq

        poller = zmq.Poller()
        shell, iopub = self.client.shell_channel, self.client.iopub_channel
        poller.register(shell.socket, zmq.POLLIN)
        poller.register(iopub.socket, zmq.POLLIN)
        content, idle = None, False
        while not (content is not None and idle):
            now = time.monotonic()
            if now > deadline:
                if content is not None:
                    break
                raise OutOfTime
            if self.ended or self.process.poll() is not None:
                raise KernelDied(self.ended or "it ended by itself")
            ready = dict(poller.poll(100))
            if iopub.socket in ready:
                for _ in range(50):
                    if not iopub.socket.poll(0):
                        break
                    message = iopub.get_msg(timeout=0)
                    if message["parent_header"].get("msg_id") == request:
                        idle = kept.take(message) or idle
            if shell.socket in ready:
                message = shell.get_msg(timeout=0)
                if message["parent_header"].get("msg_id") == request:
                    content = message["content"]
                    deadline = min(deadline, time.monotonic() + 1.0)  # for outputs
        error = None if content.get("status") == "ok" else str(content.get("ename"))
        answer = content.get("user_expressions", {}).get("answer", {})
        text = answer.get("data", {}).get("text/plain") if answer else None
        return Ran(kept.outputs, error, text)


CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


def _size(folder: Path) -> int:
    total = 0
    try:
        for entry in os.scandir(folder):
            total += entry.stat(follow_symlinks=False).st_size
            if entry.is_dir(follow_symlinks=False):
                total += _size(Path(entry.path))
    except OSError:
        pass
    return total


class _Kept:
    """Outputs of one cell: streams, plain results, pictures and errors, bounded.

    HTML, JavaScript, widgets and all other kinds are dropped.
    """

    def __init__(self, limits: Limits):
        self.outputs, self.chars = [], limits.output_chars
        self.images = limits.images

    def take(self, message) -> bool:
        """Keep what may be kept of a message; True when it says that all is done."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status":
            return content.get("execution_state") == "idle"
        if kind == "stream":
            self._text("stream", content.get("text"), content.get("name"))
        elif kind in ("execute_result", "display_data"):
            data = content.get("data", {})
            image = data.get("image/png")
            if isinstance(image, str) and self.images and is_png(image):
                self.images -= 1
                data = {"image/png": "".join(image.split())}
                self.outputs.append(
                    {"output_type": "display_data", "metadata": {}, "data": data}
                )
            else:
                self._text("display_data", data.get("text/plain"))
        elif kind == "error":
            lines = content.get("traceback", [])
            if isinstance(lines, list):
                lines = "\n".join(str(line)[:2000] for line in lines[-30:])
                self._text("stream", lines, "stderr")
        return False

    def _text(self, kind: str, text, name: str = "stdout") -> None:
        if not isinstance(text, str) or not text or self.chars <= 0:
            return
        text = plain_text(text)[: self.chars]
        self.chars -= len(text)
        if self.chars <= 0:
            text += "\n[...]"
        if kind == "display_data":
            data = {"text/plain": text}
            self.outputs.append({"output_type": kind, "metadata": {}, "data": data})
            return
        name = "stderr" if name == "stderr" else "stdout"
        last = self.outputs[-1] if self.outputs else {}
        if last.get("name") == name:
            last["text"] += text
        else:
            self.outputs.append({"output_type": kind, "name": name, "text": text})


def plain_text(text: str) -> str:
    """Text without terminal codes and control characters."""
    import re

    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in text if c >= " " or c in "\n\t")


def is_png(text: str) -> bool:
    """Is this base64 of a PNG file of at most 2 MB?"""
    import base64

    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    return content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) <= 2_000_000
