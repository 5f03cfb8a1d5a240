"""Grade a class of 30 with one and with two workers: wall time, cost of a student.

    python benchmarks/grading_class.py [--students 30] [--lesson 08] [--repeats 1]

Each student answers some questions rightly, some as in the bank's wrong answers, some
not.  A run is `course grade` as a whole: reference, sandboxes, records, gradebook.
Prints seconds and CPU seconds (the machine's) of a student, the ratio of the
throughputs, and what this machine gives at best: the same ratio for processes that
only import torch.  The runs of -j 1 and -j 2 alternate, and the ratio is that of their
medians.  Fails when scores differ.  Figures mean something on a quiet machine only.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course_lib import paths
from course_lib.grading import bank, classroom, release


def submitted(lesson: Path, rng: random.Random) -> bytes:
    """A notebook with answers drawn from the bank."""
    notebook = json.loads(release.released(lesson).read_text("utf-8"))
    answers = bank.entries(lesson)
    for cell in notebook["cells"]:
        own = [e for e in answers if e.question == cell["id"]]
        right = [e for e in own if e.hint is None]
        if own and rng.random() < 0.9:
            cell["source"] = rng.choice(right if rng.random() < 0.7 else own).source
    return json.dumps(notebook).encode()


def course_in(root: Path, lesson: Path, students: int) -> Path:
    """A course of one exercise in ``root``, with work of the students; its lesson."""
    for name, folder in (("solutions", lesson), ("exercises", None)):
        folder = folder or release.released(lesson).parent
        shutil.copytree(folder, root / name / lesson.name)
    (root / "data").symlink_to(paths.DATA)
    rng = random.Random(0)
    for i in range(students):
        path = root / "submitted" / f"student{i:02d}" / lesson.name
        path.mkdir(parents=True)
        (path / f"{lesson.name}.ipynb").write_bytes(submitted(lesson, rng))
    return root / "solutions" / lesson.name


def graded(lesson: Path, students: int, parallel: int):
    """Seconds, CPU seconds and points of one run, in a course of its own."""
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        own = course_in(Path(folder), lesson, students)
        before = os.environ.get("COURSE_ROOT")
        os.environ["COURSE_ROOT"] = folder
        used, started = cpu(), time.perf_counter()
        try:
            records, _ = classroom.grade_class(own, parallel)
        finally:
            del os.environ["COURSE_ROOT"]
            if before:
                os.environ["COURSE_ROOT"] = before
        seconds = time.perf_counter() - started
    points = {student: record["points"] for student, record in records.items()}
    return seconds, cpu() - used, points


def cpu() -> float:
    """CPU seconds that the machine has spent, whoever had them.

    Those of a killed sandbox are in no process's account.
    """
    import psutil

    spent = psutil.cpu_times()
    return spent.user + spent.nice + spent.system


def ceiling(parallel: int, processes: int = 8) -> float:
    """Throughput of ``parallel`` processes at once that import torch, one being 1."""

    def one(_):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", "import torch"], env=environment)

    seconds = []
    for at_once in (1, parallel):
        started = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, range(processes)))
        seconds.append(time.perf_counter() - started)
    return seconds[0] / seconds[1]


def main() -> None:
    """Grade the class with each number of workers, as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--lesson", default="08")
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    (lesson,) = release.lessons([arguments.lesson])
    times, scores = {parallel: [] for parallel in arguments.parallel}, None
    release.generate(lesson)  # imports nbgrader, once for all runs
    for _ in range(arguments.repeats):
        for parallel in arguments.parallel:
            seconds, used, points = graded(lesson, arguments.students, parallel)
            assert scores in (None, points), "scores differ"
            scores = points
            times[parallel].append(seconds)
            print(
                f"-j {parallel}: {seconds:.1f} s, {seconds / len(points):.2f} s and "
                f"{used / len(points):.2f} CPU seconds a student",
                flush=True,
            )
    print(f"points: {sorted(scores.values())}")
    first, *others = arguments.parallel
    for parallel in others:
        ratio = statistics.median(times[first]) / statistics.median(times[parallel])
        print(f"-j {parallel} against -j {first}: {ratio:.2f} times the throughput")
        print(f"this machine, importing torch: {ceiling(parallel):.2f} times")


if __name__ == "__main__":
    main()
