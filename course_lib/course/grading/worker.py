"""A process that grades one submission after another, for `classroom`.

Jobs come as lines of JSON on standard input, records go as lines of JSON to standard
output.  The process ends with its parent, and every sandbox ends with the process.  Its
own memory is limited: what a hostile answer makes of a check is an error of that check,
and no harm to the machine.
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time

from course_lib.course.grading import grade
from course_lib.course.grading.sandbox import Limits

JOB_SECONDS = 1200  # of one job, whatever takes them: kernels have their own limits
MEMORY_MB = 1500  # of data; a worker that has graded all lessons has 900


def work(job: dict) -> dict:
    """The record of one job: plain data in, plain data out, in this process.

    job: content (base64 of the submission), release, checks, seed, isolated, and
    optionally limits and seconds.
    """
    try:
        content = base64.b64decode(job["content"])
        return grade.grade(
            content,
            job["release"],
            job["checks"],
            job["seed"],
            job["isolated"],
            Limits(**job.get("limits", {})),
            job.get("seconds"),
        )
    except MemoryError:
        reason = "reading it takes more memory than the grader may use"
        return empty(job, grade.UNREADABLE, reason, "memory: of the notebook itself")


def empty(job: dict, outcome: str, reason: str, notice: str = "") -> dict:
    """The record of a submission that could not be run."""
    record = grade.grade(b"", job["release"], job["checks"], job["seed"])
    record.update(outcome=outcome, reason=reason, notice=notice, seconds=0.0)
    for answer in record["answers"].values():
        answer.update(outcome=outcome, reason=reason)
    return record


class Worker:
    """This module as a process; a new one replaces one that has died."""

    def __init__(self):
        self.process, self.stopped = None, False

    def work(self, job: dict) -> dict:
        """The record of a job; when the worker dies twice over it, a broken one.

        A timeout when it has not finished after JOB_SECONDS.
        """
        for _ in range(2):
            if self.stopped:
                break
            if self.process is None:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "course_lib.course.grading.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            late = threading.Event()
            timer = threading.Timer(JOB_SECONDS, self._too_late, [late])
            timer.start()
            try:
                self.process.stdin.write(json.dumps(job) + "\n")
                self.process.stdin.flush()
                line = self.process.stdout.readline()
                if line.endswith("\n"):
                    return json.loads(line)
            except OSError:
                pass
            finally:
                timer.cancel()
            self.close()
            if late.is_set():
                reason = f"the grader did not finish with it in {JOB_SECONDS} s"
                return empty(job, grade.TIMEOUT, reason, f"time: {reason}")
        notice = "memory or a fault: the grader's worker died over it"
        return empty(job, grade.BROKEN, "the grader's worker died twice", notice)

    def _too_late(self, late: threading.Event) -> None:
        late.set()
        self.process.kill()

    def stop(self) -> None:
        """End it from another thread, in the middle of a job."""
        self.stopped, process = True, self.process
        if process:
            process.kill()

    def close(self) -> None:
        """End the process; the next job starts another."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


_own = threading.local()


def apart(job: dict) -> dict:
    """As `work`, in a worker process that belongs to this thread and is kept.

    For processes that are not the course's own: those of a cluster, of nbgrader.
    """
    if not hasattr(_own, "worker"):
        _own.worker = Worker()
    return _own.worker.work(job)


def _limit_memory() -> None:
    """Let this process have MEMORY_MB of data; beyond, there is a MemoryError."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB * 10**6, most))
    except (ImportError, ValueError, OSError):
        pass  # no Linux: the limits on messages remain


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Work until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no record
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory()
    for line in sys.stdin:
        record = work(json.loads(line))
        answers.write(json.dumps(record) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
