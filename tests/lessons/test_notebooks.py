"""The lessons: each runs, shows what it showed, and costs what it says.

Each lesson is executed by nbval, which compares the outputs of the cells marked
NBVAL_CHECK_OUTPUT, in a process whose memory and time are measured.  `make test` runs
two lessons at once, with one thread each.  A lesson that keeps to its seconds like
that does so with both cores to itself.  Any other is run again alone, with all threads;
those that state too many seconds for one core are run alone in the first place.
COURSE_TIME_FACTOR=2 doubles the seconds allowed, for a slow or busy machine.
"""

import contextlib
import os
import re
import subprocess
import sys
import time

import nbformat
import pytest

from course_lib import paths
from course_lib.course import predict, runner

LESSONS = runner.lessons()
MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:work|farm|root|home|Users|tmp|opt|usr)/[\w.-]+|[A-Z]:\\\\?Users"
)
OBJECT_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def shown_text(output):
    data = output.get("data", {})
    return output.get("text", "") + data.get("text/plain", "")


def image_has_text(output):
    """Is there an alternative text, in the image's metadata or in its HTML?"""
    of_image = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    of_output = output.get("metadata", {}).get("alt", "")
    html = output.get("data", {}).get("text/html", "")
    tags = re.findall(r"<img\b[^>]*>", html)
    if tags:
        return all(re.search(r'\balt="[^"]{20,}"', tag) for tag in tags)
    return len(of_image or of_output) >= 20


def is_image(output):
    data = output.get("data", {})
    return any(kind.startswith("image/") for kind in data) or "<img" in data.get(
        "text/html", ""
    )


def test_there_are_lessons():
    assert LESSONS and LESSONS[0].stem == "00_start_here"
    numbers = [path.stem[:2] for path in LESSONS]
    assert len(set(numbers)) == len(numbers)


@each_lesson
def test_stored_outputs_come_from_one_run_from_top_to_bottom(path):
    notebook = read(path)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output.output_type for output in outputs(notebook)}
    assert "error" not in kinds
    assert not any(output.get("name") == "stderr" for output in outputs(notebook))


@each_lesson
def test_stored_outputs_name_nothing_of_one_machine(path):
    shown = "\n".join(shown_text(output) for output in outputs(read(path)))
    assert MACHINE_PATH.findall(shown) == []
    assert OBJECT_ADDRESS.findall(shown) == []


@each_lesson
def test_every_image_has_an_alternative_text(path):
    notebook = read(path)
    images = [output for output in outputs(notebook) if is_image(output)]
    assert images, "a lesson shows at least one figure"
    without = [i for i, output in enumerate(images) if not image_has_text(output)]
    assert without == [], "these of its figures have none (20 letters or more)"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert "![](" not in cell.source


@each_lesson
def test_a_lesson_asserts_what_it_claims(path):
    sources = [cell.source for cell in code_cells(read(path))]
    assert any(re.search(r"^\s*assert |claims\.record", s, re.M) for s in sources)


@each_lesson
def test_a_notebook_is_stored_in_the_normal_form(path):
    """As `course run --write` stores it, so that a second run changes nothing."""
    stored = path.read_text("utf-8")
    normal = nbformat.writes(runner.normalise(read(path))) + "\n"
    assert stored == normal, f"store it with `course run {path.stem[:2]} --write`"


@each_lesson
def test_a_lesson_states_a_cost_within_the_limits(path):
    seconds, megabytes = runner.stated_cost(path)
    assert seconds <= runner.max_seconds(path) and megabytes <= runner.MAX_MB


def test_lesson_00_shows_the_costs_that_the_lessons_state():
    (shown,) = [c for c in code_cells(read(LESSONS[0])) if c.id == "costs"]
    costs = re.findall(r"^(\w+) +(\d+) s +(\d+) MB$", shown.outputs[0].text, re.M)
    stated = [(path.stem, *map(str, runner.stated_cost(path))) for path in LESSONS]
    assert costs == stated, "make its table again: `course run 00 --write`"


# -- executing them --------------------------------------------------------------------


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    """``with machine(alone=True)``: no other lesson of this `make test` runs meanwhile.

    Who waits to be alone is not overtaken: the door is held while waiting.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one for all workers

    @contextlib.contextmanager
    def take(alone):
        try:
            import fcntl
        except ModuleNotFoundError:  # Windows, where tests run one after another
            yield
            return
        with open(folder / "door", "w") as door, open(folder / "room", "w") as room:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)
            yield

    return take


def cpu_seconds():
    """Of the processes that this one has started and waited for."""
    times = os.times()
    return times.children_user + times.children_system


def executed(path, environment):
    """Run a lesson by nbval: its seconds and its peak memory in MB."""
    command = [sys.executable, "-m", "pytest", "--color=no", "-p", "no:xdist"]
    patience = round(300 * runner.time_factor())
    command += [
        "--nbval-lax",
        "--nbval-current-env",
        f"--nbval-cell-timeout={patience}",
    ]
    started, before = time.perf_counter(), cpu_seconds()
    process = subprocess.Popen(
        [*command, str(path)],
        cwd=paths.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with runner.PeakMemory(process.pid, itself=False) as memory:
        said, _ = process.communicate()
    seconds = time.perf_counter() - started
    print(
        f"{path.stem}: {seconds:.1f} s, {cpu_seconds() - before:.1f} s of CPU, "
        f"{memory.peak_mb:.0f} MB"
    )
    assert process.returncode == 0, said[-6000:]
    return seconds, memory.peak_mb


# How many times as long as on two cores a lesson may take on one.  Those whose matrices
# are large gain by a second core, 07 1.6, 08 1.5, 09 1.3 and 10 1.4 times; the others
# get nothing.
ONE_CORE = {"07": 1.5, "08": 1.4, "09": 1.2, "10": 1.3}


def allowed_seconds(path):
    """The limit; what a lesson states may be off by the difference of two machines."""
    stated, _ = runner.stated_cost(path)
    return min(runner.max_seconds(path), 2 * stated) * runner.time_factor()


def turn(path):
    """The longest first, so that no core waits for long.

    In the order of `pytest --dist load --maxschedchunk 1`, which `make test` asks for.
    """
    return -runner.stated_cost(path)[0]


@pytest.mark.notebook
@pytest.mark.parametrize("path", sorted(LESSONS, key=turn), ids=lambda path: path.stem)
def test_lesson_runs_as_stored_and_within_its_cost(path, machine):
    """With one core each, and alone with all of them where that is too slow."""
    _, stated_mb = runner.stated_cost(path)
    allowed = allowed_seconds(path)
    environment = {**os.environ, "COURSE_PROFILE": "offline", predict.SWITCH: "off"}
    is_shared = int(environment.pop("PYTEST_XDIST_WORKER_COUNT", "1")) > 1
    threads = environment.pop("OMP_NUM_THREADS", None)
    environment.pop("OMP_WAIT_POLICY", None)  # a learner's lesson has none
    if is_shared:
        with machine(alone=False):
            shared = {**environment, "OMP_NUM_THREADS": threads or "1"}
            seconds, peak_mb = executed(path, shared)
    if not is_shared or seconds > allowed * ONE_CORE.get(path.stem[:2], 1.0):
        with machine(alone=True):
            seconds, peak_mb = executed(path, environment)
        assert seconds <= allowed, "state more seconds, or make the lesson shorter"
    assert peak_mb <= runner.MAX_MB
    assert peak_mb <= 1.25 * stated_mb, "state more MB"
