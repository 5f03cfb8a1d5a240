"""Grade a class of 30 with one and with two workers: wall time, cost of a student.

    python benchmarks/grading_class.py [--students 30] [--lesson 08] [--parallel 1 2]

Each student answers some questions rightly, some as in the bank's wrong answers, some
not.  Prints seconds and the throughput relative to the first; fails when scores differ.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Grade the class once for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--lesson", default="08")
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    (lesson,) = release.lessons([arguments.lesson])
    rng, found = random.Random(0), []
    for i in range(arguments.students):
        found.append(classroom.Submission(f"student{i:02d}", submitted(lesson, rng)))
    todo, first, scores = classroom.jobs(lesson, found, "secret"), None, None
    for parallel in arguments.parallel:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            records = classroom.run(
                todo, classroom.Journal(lesson.name, Path(folder)), parallel
            )
            seconds = time.perf_counter() - started
        first = first or seconds
        points = {student: record["points"] for student, record in records.items()}
        assert scores in (None, points)
        scores = points
        print(
            f"-j {parallel}: {seconds:.1f} s, {seconds / len(todo):.2f} s a student, "
            f"{first / seconds:.2f} times the throughput",
            flush=True,
        )
    print(f"points: {sorted(scores.values())}")


if __name__ == "__main__":
    main()
