"""What a sandbox holds and uses: processes, memory, time on a processor.

Memory is bounded by a cgroup where this process may make one: that counts everything,
also what belongs to no process (files in memory, buffers of sockets, tables).  Where
it may not, `held` adds up what can be seen from outside; the filter of system calls
closes the ways to memory that cannot.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PREFIX = "course-sandbox"  # of cgroups' names: PREFIX-PID-TOKEN
INODE_BYTES = 1200  # a file without content in a tmpfs, with its name
DESCRIPTOR_BYTES = 450_000  # buffers behind one descriptor: a full Unix socket
FREE_DESCRIPTORS = 64  # of each process, not counted: a kernel has some fifty
JOIN = 'echo $$ > "$1" || exit 125; shift; exec "$@"'  # then the command, for sh -c


def processes(pid: int) -> list[int]:
    """Process ids of ``pid`` and all below it, parents first."""
    try:
        root = psutil.Process(pid)
        return [pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.Error:
        return []


def below(pid: int) -> list[int]:
    """As `processes`, from the kernel's own lists: quicker on a busy machine."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children", "rb") as stream:
                    todo += map(int, stream.read().split())
        except FileNotFoundError:
            if one == pid and not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
                return processes(pid)
        except OSError:
            pass
    return found


def held(pids: list[int], places: list[str]) -> int:
    """Bytes that processes hold, and files in the tmpfs ``places``; a bound from above.

    Resident and swapped memory, tables of pages, descriptors beyond a usual number.
    Without /proc (other systems than Linux) resident memory alone.
    """
    if not sys.platform.startswith("linux"):
        return sum(_resident(pid) for pid in pids)
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status", "rb") as stream:
                found = dict(re.findall(rb"^(Vm\w+):\s+(\d+) kB", stream.read(), re.M))
            total += 1024 * sum(int(found.get(k, 0)) for k in COUNTED)
            extra = len(os.listdir(f"/proc/{pid}/fd")) - FREE_DESCRIPTORS
            total += DESCRIPTOR_BYTES * max(extra, 0)
        except OSError:
            pass  # it has ended
    total += 2 * _queued(pids[-1]) if pids else 0
    for place in places:
        try:
            use = os.statvfs(place)
        except OSError:
            continue
        total += (use.f_blocks - use.f_bfree) * use.f_frsize
        total += (use.f_files - use.f_ffree) * INODE_BYTES
    return total


def _queued(pid: int) -> int:
    """Bytes that wait in the TCP connections of a process's network."""
    try:
        with open(f"/proc/{pid}/net/tcp") as stream:
            queues = re.findall(r" ([0-9A-F]{8}):([0-9A-F]{8}) ", stream.read())
    except OSError:
        return 0
    return sum(int(a, 16) + int(b, 16) for a, b in queues)


COUNTED = (b"VmRSS", b"VmSwap", b"VmPTE")


def cpu_seconds(pids: list[int]) -> float:
    """Processor time of processes and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
            total += sum(map(int, fields[11:15]))
        except (OSError, ValueError, IndexError):
            pass
    return total / os.sysconf("SC_CLK_TCK") if total else 0.0


def waited_seconds(pid: int) -> float:
    """How long the first thread of a process was ready to run and had no processor.

    0.0 where the system does not say.
    """
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as stream:
            return int(stream.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


# -- cgroups ---------------------------------------------------------------------------

FILES = {  # what is written first may be missing
    1: {
        "limit": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        "events": "memory.oom_control",
    },
    2: {"limit": ("memory.max",), "events": "memory.events"},
}


_joinable: dict[Path, bool] = {}  # folders: may this process put another one there?


class Group:
    """A memory cgroup for one sandbox; `make` gives one, or None."""

    def __init__(self, folder: Path, version: int):
        self.folder, self.version = folder, version

    @classmethod
    def make(cls, limit: int, parents: list[tuple[Path, int]] | None = None):
        """A new group of ``limit`` bytes below the first parent that takes one."""
        for parent, version in _parents() if parents is None else parents:
            if _joinable.get(parent) is False:
                continue
            clean(parent)
            folder = parent / f"{PREFIX}-{os.getpid()}-{secrets.token_hex(4)}"
            try:
                folder.mkdir()
            except OSError:
                continue
            group = cls(folder, version)
            try:
                group._limit(limit)
                if parent not in _joinable:  # tried once, for real
                    done = subprocess.run(group.joined(["true"]), capture_output=True)
                    _joinable[parent] = done.returncode == 0
                if _joinable[parent]:
                    return group
            except OSError:
                pass
            group.remove()
        return None

    def _limit(self, limit: int) -> None:
        first, *more = FILES[self.version]["limit"]
        self._write(first, limit)
        for name in more:
            if (self.folder / name).exists():
                self._write(name, limit)
        if self.version == 2:
            for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
                if (self.folder / name).exists():
                    self._write(name, value)

    def _write(self, name: str, value: int) -> None:
        with open(self.folder / name, "r+") as stream:  # never makes the file
            stream.write(str(value))

    def joined(self, command: list[str]) -> list[str]:
        """The command that joins the group, then becomes ``command``."""
        place = str(self.folder / "cgroup.procs")
        return ["/bin/sh", "-c", JOIN, "sh", place, *command]

    def overrun(self) -> bool:
        """Has the system ended a process of the group because of the limit?"""
        try:
            text = (self.folder / FILES[self.version]["events"]).read_text()
        except OSError:
            return False
        found = re.search(r"^oom_kill (\d+)", text, re.MULTILINE)
        return bool(found and int(found[1]))

    def remove(self, seconds: float = 3.0) -> bool:
        """End what is left in the group and remove it; False when that fails."""
        until = time.monotonic() + seconds
        while True:
            try:
                for pid in (self.folder / "cgroup.procs").read_text().split():
                    if int(pid) > 1:  # 0: one that this namespace has no name for
                        os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
            try:
                self.folder.rmdir()
                return True
            except FileNotFoundError:
                return True
            except OSError:
                if time.monotonic() > until:
                    return False
                time.sleep(0.01)


def clean(parent: Path) -> None:
    """Remove groups that a killed grader has left behind."""
    for folder in parent.glob(f"{PREFIX}-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            Group(folder, 0).remove(0.0)


def _parents() -> list[tuple[Path, int]]:
    """Where a memory cgroup might be made: (folder, version), the best first."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = {}
    for line in lines:
        _, kinds, path = line.split(":", 2)
        own[kinds] = path
    found = []
    for line in mounts:
        front, _, back = line.partition(" - ")
        root, where = front.split()[3:5]
        kind, _, options = back.split()[:3]
        memory = next((k for k in own if "memory" in k.split(",")), None)
        if kind == "cgroup" and "memory" in options.split(",") and memory:
            found.append((_inside(where, root, own[memory]), 1))
        elif kind == "cgroup2" and "" in own:
            start = _inside(where, root, own[""])
            ways = [start, *start.parents]
            ways = [p for p in ways if p.is_relative_to(where)]
            found += [(p, 2) for p in ways if _shares_memory(p)]
    return found


def _inside(where: str, root: str, path: str) -> Path:
    """A cgroup's folder, below the mount point of a part ``root`` of the tree."""
    if root != "/" and (path + "/").startswith(root.rstrip("/") + "/"):
        path = path[len(root.rstrip("/")) :]
    return Path(where) / path.lstrip("/")


def _shares_memory(folder: Path) -> bool:
    """Do groups below this one (version 2) have limits on memory?"""
    try:
        text = (folder / "cgroup.subtree_control").read_text()
    except OSError:
        return False
    return "memory" in text.split()
