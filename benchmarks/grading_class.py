"""Grade a class with hostile submissions in it: scores, wall time, memory.

    python benchmarks/grading_class.py [--students 30] [--hostile 6] [--lesson 08]
        [--parallel 1 2] [--repeats 1] [--against FOLDER]

Each student answers some questions rightly, some as in the bank's wrong answers, some
not; the hostile want the grader's memory, time, keys or points.  A run is `course
grade` as a whole, in a process of its own: reference, sandboxes, records, gradebook.

1. The class without and with the hostile: the others' records must be the same (all
   but the seconds).  Prints the peak memory of the grader's processes: of each
   (resident), and of all together (proportional: what they share counts once).
2. The class without them, with each number of workers in turn: seconds and CPU seconds
   (the machine's) of a student, the ratio of the throughputs (of medians), and what
   this machine gives at best: the same ratio for processes that only import torch.
3. With ``--against``: the same by the code in another checkout, in turn with this one;
   prints the ratio of seconds a student.

Fails when scores differ.  Times mean something on a quiet machine only.
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
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course_lib import paths
from course_lib.course.grading import bank, release

HOSTILE = {
    "memory of no process": """
for place in ("/tmp", "/dev/shm", "/box/work"):
    for n in range(3):
        try:
            with open(f"{place}/{n}", "wb") as stream: stream.write(bytes(6 * 10**7))
        except OSError: pass
x = [bytearray(10**9) for _ in range(8)]
""",
    "messages of endless parts": """
kernel = get_ipython().kernel
while True: kernel.iopub_socket.send_multipart([b"x" * 10_000] * 500)
""",
    "pictures and prints": """
import base64
from IPython.display import display
head = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(3) + b"\\rIHDR\\0\\0\\0\\x01\\0\\0\\0\\x01"
picture = {"image/png": base64.b64encode(head + bytes(1_900_000)).decode()}
while True:
    display(picture, raw=True); print("x" * 10**6)
""",
    "a loop with children": """
import os
for _ in range(20):
    if os.fork() == 0:
        while True: pass
while True: pass
""",
    "a forged transport": """
from course_lib.course.grading import plain
import numpy as np
plain.encode = lambda value: '{"kind": "array", "npy": ""}'
np.allclose = lambda *a, **k: True
""",
}


def submitted(lesson: Path, exercise: Path, rng: random.Random) -> bytes:
    """A notebook with answers drawn from the bank of ``lesson``."""
    notebook = json.loads(exercise.read_text("utf-8"))
    answers = bank.entries(lesson)
    for cell in notebook["cells"]:
        own = [e for e in answers if e.question == cell["id"]]
        right = [e for e in own if e.hint is None]
        if own and rng.random() < 0.9:
            cell["source"] = rng.choice(right if rng.random() < 0.7 else own).source
    return json.dumps(notebook).encode()


def hostile(exercise: Path, number: int) -> bytes:
    """A submission of one of the kinds of HOSTILE, or one that takes memory to read."""
    kind = number % (len(HOSTILE) + 1)
    if kind == len(HOSTILE):
        return b'{"cells": [' + b"[],{}," * 2_800_000 + b"[]]}"
    notebook = json.loads(exercise.read_text("utf-8"))
    first = next(c for c in notebook["cells"] if _is_answer(c))
    first["source"] = list(HOSTILE.values())[kind]
    return json.dumps(notebook).encode()


def _is_answer(cell: dict) -> bool:
    is_code = cell["cell_type"] == "code"
    return is_code and bool(cell["metadata"].get("nbgrader", {}).get("solution"))


def course_in(
    root: Path, lesson: Path, students: int, bad: int, checkout: Path
) -> Path:
    """A course of one exercise in ``root``, with work of the students; its lesson.

    The exercise, its checks and the bank from which the work is drawn are those of
    ``checkout``: an older one cannot import what a newer one hands out.
    """
    for name in ("solutions", "exercises"):
        shutil.copytree(checkout / name / lesson.name, root / name / lesson.name)
    lesson = checkout / "solutions" / lesson.name
    exercise = checkout / "exercises" / lesson.name / f"{lesson.name}.ipynb"
    (root / "data").symlink_to(paths.DATA)
    secret = root / "grading" / lesson.name / "secret.json"
    secret.parent.mkdir(parents=True)
    secret.write_text('{"secret": "of the benchmark"}')
    rng = random.Random(0)
    names = [f"student{i:02d}" for i in range(students)]
    work = {name: submitted(lesson, exercise, rng) for name in names}
    work |= {f"mal{i:02d}": hostile(exercise, i) for i in range(bad)}
    for student, content in work.items():
        path = root / "submitted" / student / lesson.name
        path.mkdir(parents=True)
        (path / f"{lesson.name}.ipynb").write_bytes(content)
    return root / "solutions" / lesson.name


RUN = """\
import importlib, json, sys
from pathlib import Path
import course_lib
library = Path(course_lib.__file__).parent
assert library.parent == Path.cwd(), "another checkout would be measured"
inner = "course_lib.course" if (library / "course").is_dir() else "course_lib"
classroom = importlib.import_module(f"{inner}.grading.classroom")
assert library in Path(classroom.__file__).parents, "another checkout"
lesson, parallel, to = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
older = not hasattr(classroom, "How")  # a checkout to compare with
how = parallel if older else classroom.How(parallel=parallel)
records, _ = classroom.grade_class(lesson, how)
for record in records.values():
    record.pop("seconds"); record.pop("notebook", None); record.pop("digest", None)
to.write_text(json.dumps(records, sort_keys=True))
"""


class Run:
    """One run of `course grade`, by the code of ``checkout``: what it took and gave."""

    def __init__(
        self,
        lesson: Path,
        students: int,
        bad: int,
        parallel: int,
        checkout: Path,
        memory: bool = False,
    ):
        self.peaks: dict[str, int] = {}
        self.together, self.stop = 0, threading.Event()
        with tempfile.TemporaryDirectory(prefix="course-") as folder:
            own = course_in(Path(folder), lesson, students, bad, checkout)
            to = Path(folder) / "records.json"
            environment = {**os.environ, "COURSE_ROOT": folder}
            environment |= {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
            used, started = cpu(), time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(own), str(parallel), str(to)],
                env=environment,
                cwd=checkout,
            )
            watch = threading.Thread(target=self._watch, args=[process.pid])
            if memory:  # looking takes a fifth of a processor: not while time counts
                watch.start()
            code = process.wait()
            self.seconds = time.perf_counter() - started
            self.cpu = cpu() - used
            self.stop.set()
            if memory:
                watch.join()
            assert code == 0, f"the grader ended with {code}"
            self.records = json.loads(to.read_text())
        self.each = self.seconds / len(self.records)

    def _watch(self, pid: int) -> None:
        """The grader's own processes: the one started, and its workers."""
        import psutil

        while not self.stop.wait(0.05):
            now = {}
            try:
                root = psutil.Process(pid)
                for process in [root, *root.children()]:
                    memory = process.memory_full_info()
                    now[process.pid] = memory.rss, memory.pss
            except psutil.Error:
                continue
            # what two processes share (the libraries) counts once, not twice
            together = sum(pss for _, pss in now.values())
            self.together = max(self.together, together)
            for one, (rss, _) in now.items():
                self.peaks[one] = max(self.peaks.get(one, 0), rss)

    def points(self) -> dict[str, float]:
        """Scores of all students."""
        return {name: record["points"] for name, record in self.records.items()}


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


def with_and_without(lesson: Path, students: int, bad: int, parallel: int) -> None:
    """The honest students' records, alone and among the hostile; memory."""
    alone = Run(lesson, students - bad, 0, parallel, paths.ROOT, memory=True)
    mixed = Run(lesson, students - bad, bad, parallel, paths.ROOT, memory=True)
    honest = {n: r for n, r in mixed.records.items() if not n.startswith("mal")}
    assert honest == alone.records, "the hostile changed somebody's record"
    print(f"{len(honest)} records are the same with and without {bad} hostile ones")
    for name, record in sorted(mixed.records.items()):
        if name.startswith("mal"):
            points = f"{record['points']:g} points"
            print(f"  {name}: {points}, {record['outcome']}; {record['notice']}")
    for title, run in (("without", alone), ("with", mixed)):
        largest = max(run.peaks.values()) / 1e6
        print(
            f"{title} them: {run.seconds:.0f} s, the largest process of the grader "
            f"{largest:.0f} MB, all together {run.together / 1e6:.0f} MB"
        )


def main() -> None:
    """Grade the class in each way, as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--hostile", type=int, default=6)
    parser.add_argument("--lesson", default="08")
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    (lesson,) = release.lessons([arguments.lesson])
    release.generate(lesson)  # the exercise that the students get
    if arguments.hostile:
        most = max(arguments.parallel)
        with_and_without(lesson, arguments.students, arguments.hostile, most)
    folders = [paths.ROOT, *([arguments.against] if arguments.against else [])]
    times = {(f, j): [] for f in folders for j in arguments.parallel}
    scores: dict[Path, dict] = {}
    for _ in range(arguments.repeats):
        for folder, parallel in times:
            run = Run(lesson, arguments.students, 0, parallel, folder.resolve())
            points = run.points()
            assert points == scores.setdefault(folder, points), "scores differ"
            times[folder, parallel].append(run.each)
            print(
                f"{'this' if folder == paths.ROOT else folder}, -j {parallel}: "
                f"{run.seconds:.1f} s, {run.each:.2f} s and "
                f"{run.cpu / len(points):.2f} CPU seconds a student",
                flush=True,
            )
    print(f"points: {sorted(scores[paths.ROOT].values())}")
    middle = {key: statistics.median(found) for key, found in times.items()}
    first, *others = arguments.parallel
    for parallel in others:
        ratio = middle[paths.ROOT, first] / middle[paths.ROOT, parallel]
        print(f"-j {parallel} against -j {first}: {ratio:.2f} times the throughput")
        print(f"this machine, importing torch: {ceiling(parallel):.2f} times")
    if arguments.against:
        before, now = scores[arguments.against], scores[paths.ROOT]
        changed = sorted(name for name in now if now[name] != before[name])
        print(f"scored otherwise than before: {', '.join(changed) or 'nobody'}")
        for parallel in arguments.parallel:
            ratio = middle[paths.ROOT, parallel] / middle[arguments.against, parallel]
            print(f"-j {parallel}: {ratio:.3f} times the seconds a student of before")


if __name__ == "__main__":
    main()
