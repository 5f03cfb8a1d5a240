"""Is `course diagnose` right on twenty cases that had no part in making it?

    python benchmarks/planted_cases.py                 # the stored verdicts, judged
    python benchmarks/planted_cases.py --run "NAME" ... # these now, with their cost

Cases, order, truths, settings and what counts as right were written down before any
case was run: course_lib/lessons/lesson13_unseen.py.  Those "at all defaults" take some
five minutes each, the others one or two.
"""

from __future__ import annotations

import argparse
import time

from course_lib.lessons import lesson13_unseen as unseen


def shown(row) -> str:
    """One case in one line."""
    low, gain, high = (100 * row[key] for key in ("low", "gain", "high"))
    truth = row["truth"]
    if row["true_gain"] is not None:
        truth += f" {100 * row['true_gain']:+.1f} ± {100 * row['true_half']:.1f}"
    return (
        f"{row['case']:34} truly {truth:22} said {row['kind']:14} "
        f"{gain:+6.1f} ({low:+.1f} to {high:+.1f})  {row['judged']}"
    )


def run(name: str) -> None:
    """Run one case now, and say what it cost."""
    known = unseen.truths()[name]
    began, used = time.perf_counter(), time.process_time()
    found = unseen.unseen_cases(case=name)
    kind = unseen.KINDS[int(found["kind"])]
    about = dict(case=name, truth=known[0], true_gain=known[1], true_half=known[2])
    about |= dict(kind=kind, judged=unseen.judged(known[0], kind))
    print(shown(found | about))
    print(
        f"{found['updates']} updates, {found['repeats']} repeats; "
        f"{time.perf_counter() - began:.0f} s, of which the processor "
        f"{time.process_time() - used:.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs="*", default=[], choices=list(unseen.CASES))
    names = parser.parse_args().run
    for name in names:
        run(name)
    if not names:
        table = unseen.table()
        print(*map(shown, table), sep="\n")
        words = [row["judged"] for row in table]
        counts = {word: words.count(word) for word in ("right", "undecided", "wrong")}
        print(f"{len(table)} of {len(unseen.CASES)} cases: {counts}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
