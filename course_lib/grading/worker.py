"""A process that grades one submission after another, for `classroom`.

Jobs come as lines of JSON on standard input, records go as lines of JSON to standard
output.  The process ends with its parent, and every sandbox ends with the process.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time

from course_lib.grading import grade
from course_lib.grading.sandbox import Limits


def work(job: dict) -> dict:
    """The record of one job: plain data in, plain data out; runs anywhere.

    job: content (base64 of the submission), release, checks, seed, isolated, and
    optionally limits and seconds.
    """
    return grade.grade(
        base64.b64decode(job["content"]),
        job["release"],
        job["checks"],
        job["seed"],
        job["isolated"],
        Limits(**job.get("limits", {})),
        job.get("seconds"),
    )


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
    for line in sys.stdin:
        record = work(json.loads(line))
        answers.write(json.dumps(record) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
