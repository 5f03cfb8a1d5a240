"""Execute the lessons without a browser, and open them in one.

Each lesson runs in a kernel of its own, in the Python that runs this module, with
``notebooks/`` as its working folder; its time and its peak memory are measured.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths
from course_lib.course import predict
from course_lib.errors import CourseError
from course_lib.files import atomic_write_bytes
from course_lib.show.console import print_table
from course_lib.show.formulas import with_mathml

CHECK = "check"  # the tag of a cell that proves what the text says
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # JupyterLab, Colab
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Run:
    """What happened when a lesson was executed."""

    lesson: str
    seconds: float
    peak_mb: float  # of the kernel and its children, resident, in 10^6 bytes
    failure: str | None  # names the cell and the error; None when all cells ran


# -- which lessons ----------------------------------------------------------------


def lessons(names: list[str] | None = None) -> list[Path]:
    """Paths of the lessons named ``1``, ``01`` or ``01_feature_hierarchy``.

    No names: all of them.  Raises CourseError for one that does not exist.
    """
    known = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return named(names, known, "There is no lesson {!r}", "course run 01")


def named(
    names: list[str] | None, known: list[Path], wrong: str, example: str, none="(none)"
) -> list[Path]:
    """Those of the known notebooks or folders that are called so; all without names.

    wrong, example, none: of the CourseError for a name that does not exist.
    """
    if not names:
        return known
    found = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        number = stem.zfill(2) if stem.isdigit() else None
        match = [p for p in known if p.stem == stem or p.stem[:2] == number]
        if not match:
            there = ", ".join(path.stem for path in known) or none
            raise CourseError(
                f"{wrong.format(name)}.\nExpected: one of {there}.\nDo: give its "
                f"number, for example `{example}`."
            )
        found += match
    return found


MAX_MB = 3000  # of memory, for any lesson
# others: 90
MAX_SECONDS = {"07": 120, "10": 240, "11": 120, "12": 120, "14": 120, "16": 120}


def max_seconds(path: Path) -> int:
    """What a lesson may take on two CPU cores; more where much is trained live."""
    return MAX_SECONDS.get(path.stem[:2], 90)


COST = re.compile(r"(\d+)\s*s(?:econds)?\b[^\n]*?(\d[\d,]*)\s*MB")


def stated_cost(path: Path) -> tuple[int, int]:
    """(seconds, MB) that a lesson states at its top, such as "35 s, 900 MB".

    Raises CourseError for one that states nothing.
    """
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    found = COST.search(cells[0].source)
    if not found:
        raise CourseError(
            f"{path.name} states no cost.\nExpected: seconds and memory in its first "
            'cell, such as "35 s, 900 MB".\nDo: add them.'
        )
    return int(found[1]), int(found[2].replace(",", ""))


def time_factor() -> float:
    """COURSE_TIME_FACTOR: how much longer all may take, on a slow or busy machine."""
    return float(os.environ.get("COURSE_TIME_FACTOR", "1"))


# -- executing --------------------------------------------------------------------


class PeakMemory:
    """The most memory that a process tree held, sampled every 0.1 s in a thread.

    ``peak_mb`` is the resident size, in 10^6 bytes, of the process ``pid`` and all
    that it started; ``itself=False`` leaves out the process and keeps the rest.
    """

    def __init__(self, pid: int, itself: bool = True):
        self.pid, self.itself, self.peak_mb = pid, itself, 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        while not self._done.is_set():
            total = 0
            try:
                root = psutil.Process(self.pid)
                for process in [root] * self.itself + root.children(recursive=True):
                    with contextlib.suppress(psutil.Error):  # it has just ended
                        total += process.memory_info().rss
            except psutil.Error:
                return
            self.peak_mb = max(self.peak_mb, total / 1e6)
            self._done.wait(0.1)


def kernel_manager():
    """A manager whose kernels run in this very Python, whatever is installed."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            start = [sys.executable, "-m", "ipykernel_launcher"]
            start += ["--log-level=ERROR", "-f", "{connection_file}"]
            return KernelSpec(
                argv=start,
                display_name="Python 3",
                language="python",
            )

    return AsyncKernelManager(kernel_spec_manager=ThisPython())


def execute(notebook, name: str, timeout: int = 600, on_cell=None) -> Run:
    """Run a notebook's cells in order, in place, up to the first that fails.

    ``timeout`` is in seconds for one cell; ``on_cell(index, cell)`` is called
    before each.  A failing lesson is a result (``Run.failure``), not an exception.
    What the kernel's own process prints, as its messaging does while it shuts down, is
    kept, and told only where the kernel never came up.
    """
    from nbclient import NotebookClient

    manager = kernel_manager()
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=timeout,
        resources={"metadata": {"path": str(paths.NOTEBOOKS)}},
    )
    failure, peak_mb, started = None, 0.0, time.perf_counter()
    asks_nobody = {**os.environ, predict.SWITCH: "off"}
    with tempfile.TemporaryFile() as said:
        try:
            client.reset_execution_trackers()
            kernel = client.setup_kernel(cleanup_kc=True, env=asks_nobody, stderr=said)
            with kernel, PeakMemory(manager.provisioner.pid) as memory:
                failure = _first_failure(client, on_cell)
            peak_mb = memory.peak_mb
        except RuntimeError as error:  # the kernel never came up
            why = _last_line(said) or error
            failure = failure or f"the kernel did not start: {why}"
    return Run(name, time.perf_counter() - started, peak_mb, failure)


def _first_failure(client, on_cell) -> str | None:
    """Execute a client's cells in order; what went wrong in the first that fails."""
    from nbclient.exceptions import (
        CellExecutionError,
        CellTimeoutError,
        DeadKernelError,
    )

    for index, cell in enumerate(client.nb.cells):
        if on_cell:
            on_cell(index, cell)
        try:
            client.execute_cell(cell, index)
        except CellExecutionError as error:
            return _described(index, cell, f"{error.ename}: {error.evalue}")
        except CellTimeoutError:
            return _described(index, cell, f"ran longer than {client.timeout} s")
        except DeadKernelError:
            return _described(index, cell, "the kernel died (out of memory?)")
    return None


def _last_line(said) -> str:
    """The last line in an open file that is not blank, else ""."""
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _described(index: int, cell, error: str) -> str:
    lines = [line for line in cell.source.splitlines() if line.strip()]
    first = lines[0].strip() if lines else "(empty)"
    brief = " ".join(error.split())
    return f"cell {index} (id {cell.get('id', '?')}), `{first[:70]}`: {brief[:300]}"


# -- what is kept of a run ----------------------------------------------------------


def normalise(notebook):
    """Make an executed notebook fit to commit: the same run gives the same bytes.

    Drops progress bars (stderr), widgets, timings, empty metadata and the version
    of the language; numbers the code cells 1..n; keeps ids that are there.  The code
    of a cell with the tag `check` is folded, its output is not.
    """
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count, seen = 0, set()
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = f"cell-{index:02d}"
        seen.add(cell["id"])
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled", "trusted"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if CHECK in cell.metadata.get("tags", []):
            cell.metadata.update(FOLDED)
        count += 1
        cell.execution_count = count
        cell.outputs = _kept_outputs(cell.outputs, count)
    return notebook


def _kept_outputs(outputs, count: int) -> list:
    kept = []
    for output in outputs:
        is_stream = output.output_type == "stream"
        if is_stream and output.name == "stderr":
            continue
        if WIDGET in output.get("data", {}):  # dead without its kernel
            del output["data"][WIDGET]
            if "image/png" not in output["data"]:
                continue  # nothing but the widget; else its still picture stays
        if is_stream and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
            continue
        if output.output_type == "execute_result":
            output.execution_count = count
        kept.append(output)
    return kept


def write_html(notebook, path: Path) -> None:
    """Write the executed notebook as one page that needs no network."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    def markdown(source: str) -> str:
        renderer = with_mathml(IPythonRenderer)(escape=False)
        return MarkdownWithMath(renderer=renderer).render(source)

    exporter = HTMLExporter(
        mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url=""
    )
    exporter.register_filter("markdown2html", markdown)
    resources = {"metadata": {"name": path.stem}}
    page, _ = exporter.from_notebook_node(notebook, resources=resources)
    atomic_write_bytes(path, page.encode("utf-8"))


def run(lesson_paths, to="executed", timeout: int = 600, write: bool = False) -> int:
    """Execute lessons, write their pages, print a table; the exit code, 0 or 1.

    One failing lesson does not stop the next.  ``write`` stores the outputs of
    those that ran through in the notebooks themselves.  Raises CourseError when
    there is nothing to run.
    """
    import nbformat

    if not lesson_paths:
        raise CourseError(
            f"There are no lessons in {paths.NOTEBOOKS}.\n"
            "Expected: notebooks such as 00_start_here.ipynb.\n"
            "Do: `git checkout -- notebooks`."
        )
    runs = []
    for path in lesson_paths:
        notebook = nbformat.read(path, as_version=4)
        with _progress(path.stem, len(notebook.cells)) as on_cell:
            result = execute(notebook, path.stem, timeout, on_cell)
            if on_cell and not result.failure:
                on_cell(len(notebook.cells))
        runs.append(result)
        write_html(notebook, Path(to) / f"{path.stem}.html")
        if write and not result.failure:
            text = nbformat.writes(normalise(notebook)) + "\n"
            atomic_write_bytes(path, text.encode("utf-8"))
    print_table(
        f"Executed lessons (pages in {to})",
        ("lesson", "seconds", "peak MB", "status"),
        [(r.lesson, f"{r.seconds:.1f}", f"{r.peak_mb:.0f}", _status(r)) for r in runs],
    )
    for result in runs:
        if result.failure:
            print(f"{result.lesson}: {result.failure}", file=sys.stderr)
    return 1 if any(result.failure for result in runs) else 0


def _status(result: Run) -> str:
    if result.failure is None:
        return "ok"
    cell = re.match(r"cell \d+", result.failure)
    return f"failed in {cell.group()}" if cell else "failed"


class _progress:
    """A bar that moves with each cell; on a plain output, a line for each lesson."""

    def __init__(self, name: str, cells: int):
        self.name, self.cells, self.bar = name, cells, None

    def __enter__(self):
        if not sys.stdout.isatty():
            print(f"{self.name}: {self.cells} cells ...", flush=True)
            return None
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} cells"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[cell]}", style="dim", markup=False),
        )
        self.bar.start()
        self.task = self.bar.add_task(self.name, total=self.cells, cell="")
        return self._advance

    def _advance(self, index: int, cell=None) -> None:
        first = (cell.source.strip() if cell else "").partition("\n")[0]
        self.bar.update(self.task, completed=index, cell=first[:40])

    def __exit__(self, *exception) -> None:
        if self.bar:
            self.bar.stop()


# -- JupyterLab ---------------------------------------------------------------------


def lab_command(page: Path, root: Path, options: list[str] | None = None) -> list[str]:
    """The command that opens a notebook in JupyterLab, with nothing that phones out.

    root: the folder that JupyterLab shows, which holds the notebook; its address opens
    the notebook, in whatever browser.  ``options`` are passed on and win over those of
    the course.
    """
    command = [sys.executable, "-m", "jupyterlab"]
    command += [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{page.relative_to(root).as_posix()}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        f"--LabApp.app_settings_dir={Path(__file__).parent / 'lab_settings'}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command + list(options or [])


def open_lab(page: Path, root: Path, options: list[str] | None = None) -> int:
    """Open JupyterLab on a notebook and stay until it is closed; its exit code."""
    command = lab_command(page, root, options)
    if "--allow-root" in command[3:]:
        print("You are root: JupyterLab is told to allow that (--allow-root).")
    print("JupyterLab is starting; Ctrl-C twice in this window ends it.", flush=True)
    if os.name == "nt":  # no exec that keeps the console
        return subprocess.call(command, cwd=paths.ROOT)
    os.chdir(paths.ROOT)
    os.execv(command[0], command)
