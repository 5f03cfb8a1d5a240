"""The recomputed cells of the stored results, as other processors compute them.

    python tools/other_processors.py [GRID ...]

Computes what `make test` recomputes (the short cells, or the sample of a grid that has
none) in processes that use what an older processor has: other instructions add in
another order and round otherwise, and training from random weights enlarges that with
every update.  Prints for each cell the largest deviation from the stored row as a share
of its tolerance, and leaves with 1 where one is above 1: such a cell needs fewer
updates, not a wider tolerance.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def instructions(torch, onednn, mkl, openblas):
    """Environment in which each library uses no more than these instructions."""
    return {
        "ATEN_CPU_CAPABILITY": torch,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "DNNL_MAX_CPU_ISA": onednn,
        "MKL_CBWR": mkl,
        "OPENBLAS_CORETYPE": openblas,
    }


VARIANTS = {  # a cell itself has one thread; NumPy and scikit-learn have two here
    "as it is": {"OMP_NUM_THREADS": "1"},
    "AVX2, 2 threads": instructions("avx2", "AVX2", "AVX2", "Haswell")
    | {"OMP_NUM_THREADS": "2"},
    "SSE4.1": instructions("default", "SSE41", "COMPATIBLE", "Nehalem")
    | {"OMP_NUM_THREADS": "1"},
}


def share(deviation, allowed):
    """A deviation as a share of its tolerance, which may be 0."""
    return deviation / allowed if allowed else float(deviation > 0) * 2


def compute(names):
    """In a process of one variant: print (grid, params, number, share) a cell."""
    from course_lib.lessons import experiments

    for name in names:
        one = experiments.get(name)
        for params, row, values in experiments.recomputed(name):
            numbers = experiments.comparable(one, params, row, values)
            found = [
                (share(abs(values[n] - row[n]), experiments.allowed(one, n, row[n])), n)
                for n in numbers
            ]
            largest, number = max(found)
            print(json.dumps([name, params, number, largest]), flush=True)


def main(names):
    """Every variant after the other; 1 where a cell is beyond its tolerance."""
    from course_lib.lessons import experiments

    worst, names = 0.0, names or experiments.names()
    for variant, environment in VARIANTS.items():
        command = [sys.executable, __file__, "--compute", *names]
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            name, params, number, largest = json.loads(line)
            worst = max(worst, largest)
            print(f"{largest:6.3f}  {variant:16} {name} {number} {params}", flush=True)
        if process.wait():
            return 1
    print(f"{worst:6.3f}  largest")
    return int(worst > 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compute"]:
        compute(sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
