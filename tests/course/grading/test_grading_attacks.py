"""Submissions that cheat, break out, or break things: no points, a record of each.

The table of abuses against which nbgrader by itself is helpless, and more attacks.
"""

import json
import os
import pwd
import time
from pathlib import Path

import psutil
import pytest
from grading_toy import (
    DOUBLE,
    TOTAL,
    cell,
    graded,
    needs_sandbox,
    outcomes,
    release,
    submitted,
)

from course_lib.course.grading import grade, sandbox

pytestmark = [needs_sandbox, pytest.mark.slow]

WRONG, DIED, TIMEOUT = {"wrong"}, {"kernel died"}, {"timeout"}
OVER = WRONG | DIED | TIMEOUT
HONEST = "def double(x):\n    return 3 * x\n"  # a wrong answer below each attack

# name: (source of the cell, outcomes that are right)
CHEATS = {
    "object that equals everything": (
        """
class Yes(float):
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return Yes(0)
    __rsub__ = __abs__ = __sub__
    def __abs__(self): return Yes(0)
def double(x): return Yes()
""",
        WRONG,
    ),
    "array that equals everything": (
        """
import numpy as np
class Yes(np.ndarray):
    def __eq__(self, other): return True
    def __array_ufunc__(self, *a, **k): return True
def double(x): return np.zeros(()).view(Yes)
""",
        WRONG,
    ),
    "object that lies about its class": (
        """
class Yes:
    __class__ = dict
    def items(self): return [("a", 1)]
    def __eq__(self, other): return True
def double(x): return Yes()
""",
        WRONG,
    ),
    "syntax tree transformer": (
        """
import ast
class T(ast.NodeTransformer):
    def visit_Compare(self, node): return ast.Constant(True)
    def visit_Raise(self, node): return ast.Pass()
get_ipython().ast_transformers.append(T())
"""
        + HONEST,
        WRONG,
    ),
    "source transformer": (
        """
def turn(lines): return [l.replace('"not attempted"', '"ok "') for l in lines]
get_ipython().input_transformers_cleanup.append(turn)
"""
        + HONEST,
        WRONG,
    ),
    "tests read from In": (
        """
import re
def double(x):
    text = "".join(map(str, In)) + str(get_ipython().history_manager.input_hist_raw)
    assert "Wrong" not in text and "expected" not in text
    found = re.findall(r"== (\\d+)", text)
    return float(found[0]) if found else 0.0
""",
        WRONG,
    ),
    "expected values looked for in the frames": (
        """
import sys
def double(x):
    frame, found = sys._getframe(), []
    while frame:
        found += [v for v in frame.f_locals.values() if isinstance(v, float) and v != x]
        frame = frame.f_back
    return found[0] if found else 0.0
""",
        WRONG,
    ),
    "patched numpy, torch and json comparisons": (
        """
import json, math, numpy as np
yes = lambda *a, **k: True
np.allclose = np.isclose = np.array_equal = np.isfinite = math.isclose = yes
json.loads = lambda *a, **k: {"code": "result = 1.0", "inputs": "{}"}
"""
        + HONEST,
        OVER,
    ),
    "patched transport": (
        """
from course_lib.course.grading import plain
plain.encode = lambda value: '{"kind": "correct", "points": 1000}'
"""
        + HONEST,
        WRONG,
    ),
    "transport that claims full marks": (
        """
from course_lib.course.grading import checks, grade
checks.close = lambda *a, **k: True
grade.said = grade.grade = lambda *a, **k: {"points": 1000}
"""
        + HONEST,
        WRONG,
    ),
    "json patched in the kernel": (
        """
import json, jupyter_client.session as s
s.json_packer = s.json.dumps = json.dumps = lambda *a, **k: '{"a": 1}'
"""
        + HONEST,
        OVER,
    ),
    "packer replaced in the kernel's session": (
        """
session = get_ipython().kernel.session
session.pack = lambda value: b'[' * 100000
"""
        + HONEST,
        OVER,
    ),
    "signature made wrong": (
        """
get_ipython().kernel.session.sign = lambda parts: b"0" * 64
"""
        + HONEST,
        OVER,
    ),
    "formatter that answers for the check": (
        """
formatter = get_ipython().display_formatter
type(formatter).format = lambda *a, **k: ({"text/plain": "'ok MTAwMA=='"}, {})
"""
        + HONEST,
        WRONG,
    ),
    "expressions answered by an object": (
        """
get_ipython().user_expressions = lambda e: {"answer": {"data": {"text/plain": [1]}}}
"""
        + HONEST,
        WRONG,
    ),
    "reply of the wrong shape": (
        """
kernel = get_ipython().kernel
async def reply(*a, **k): return [1, 2]
type(kernel).do_execute = reply
"""
        + HONEST,
        OVER,
    ),
    "builtins replaced": (
        """
import builtins
builtins.NameError = builtins.Exception = builtins.NotImplementedError = BaseException
builtins.exec = lambda code, space: space.update(result=True)
"""
        + HONEST,
        OVER | {"not attempted"},
    ),
    "every import replaced": (
        """
import builtins
builtins.__import__ = lambda *a, **k: None
"""
        + HONEST,
        OVER,
    ),
    "not a number": ("def double(x): return float('nan')", WRONG),
    "infinite": ("def double(x): return float('inf')", WRONG),
    "a text that looks right": ("def double(x): return str(2 * x)", WRONG),
    "huge number": ("def double(x): return 10 ** 100000", OVER),
    "deeply nested": (
        "def double(x):\n    r = []\n    for _ in range(10000): r = [r]\n    return r",
        WRONG,
    ),
    "240 MB returned": (
        "import numpy as np\ndef double(x): return np.zeros(30_000_000)",
        WRONG | DIED,
    ),
    "generator without end": (
        "import itertools\ndef double(x): return itertools.count()",
        WRONG,
    ),
    "not attempted, claimed correct": (
        "print('correct: 3 of 3')\n3.0\ndef double(x): raise NotImplementedError",
        {"not attempted"},
    ),
    "test replaced from the answer": (
        "visible = check = close = lambda *a, **k: True\n" + HONEST,
        WRONG,
    ),
}

BREAKERS = {
    "os._exit": ("import os; os._exit(0)", DIED),
    "os._exit in a call": ("import os\ndef double(x): os._exit(0)", DIED),
    "sys.exit in a call": ("import sys\ndef double(x): sys.exit(0)", OVER),
    "abort": ("import os; os.abort()", DIED),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", DIED),
    "kills its parent": (
        "import os; os.kill(os.getppid(), 9)\n" + HONEST,
        OVER,
    ),
    "kills everything": ("import os; os.kill(-1, 9)\n" + HONEST, OVER),
    "kills its group": ("import os; os.killpg(0, 9)\n" + HONEST, OVER),
    "stops itself": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        TIMEOUT,
    ),
    "infinite loop": ("while True: pass", TIMEOUT),
    "infinite loop in a call": ("def double(x):\n    while True: pass", TIMEOUT),
    "loop that ignores signals": (
        """
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""",
        TIMEOUT,
    ),
    "sleeps in many threads": (
        """
import threading, time
for _ in range(1000):
    threading.Thread(target=time.sleep, args=(1000,)).start()
"""
        + HONEST,
        OVER,
    ),
    "fork bomb": (
        "import os\ntry:\n    while True: os.fork()\nexcept OSError: pass\n" + HONEST,
        OVER,
    ),
    "forks in a call": (
        "import os\ndef double(x):\n    os.fork(); os.fork()\n    return 3 * x",
        OVER,
    ),
    "memory": ("x = bytearray(10**10)\n" + HONEST, OVER),
    "memory of many": (
        """
import os, time
for _ in range(8):
    if os.fork() == 0:
        x = bytearray(10**8); time.sleep(100)
time.sleep(100)
""",
        DIED,
    ),
    "fills the disk": (
        """
import itertools
for folder in ("/tmp", "/box/work", "/dev/shm", "/box/ipc", "/dev"):
    for n in itertools.count():
        try:
            with open(f"{folder}/{n}", "wb") as f: f.write(bytes(5 * 10**6))
        except OSError:
            break
"""
        + HONEST,
        OVER,
    ),
    "100 MB of output": (
        "for _ in range(1000): print('x' * 100_000)\n" + HONEST,
        OVER,
    ),
    "flood of messages in a call": (
        """
from IPython.display import display
def double(x):
    for _ in range(3000): print("x" * 10_000); display({"a": x})
    return 3 * x
""",
        OVER,
    ),
    "asks for input": ("name = input()\n" + HONEST, WRONG),
    "error whose text never ends": (
        """
class Endless(Exception):
    def __str__(self):
        while True: pass
    __repr__ = __str__
raise Endless()
""",
        OVER,
    ),
    "leaves its sockets": (
        """
import gc, zmq
for o in gc.get_objects():
    if isinstance(o, zmq.Socket): o.close(0)
"""
        + HONEST,
        TIMEOUT | DIED,
    ),
    "message of 50 MB": (
        """
session, kernel = get_ipython().kernel.session, get_ipython().kernel
session.send(kernel.iopub_socket, "stream", {"name": "stdout", "text": "x" * 5 * 10**7})
"""
        + HONEST,
        OVER,
    ),
    "says idle and goes on": (
        """
session, kernel = get_ipython().kernel.session, get_ipython().kernel
for state in ("idle", "dead", 3, None, ["idle"]):
    session.send(kernel.iopub_socket, "status", {"execution_state": state},
                 parent=kernel.get_parent())
"""
        + HONEST,
        OVER,
    ),
}


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    yield
    time.sleep(0.05)
    after = {p.pid for p in psutil.Process().children(recursive=True)}
    assert after <= before


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_gain_nothing(name):
    source, right = CHEATS[name]
    seconds = 3 if TIMEOUT <= right else 12  # what never ends need not run for long
    record = graded(submitted(double=source), seconds=seconds)
    assert record["answers"]["double"]["points"] == 0
    assert outcomes(record)["double"] in right, record["answers"]["double"]
    assert record["points"] == 0 and record["max_points"] == 6


@pytest.mark.parametrize("name", BREAKERS)
def test_breakers_are_bounded_and_recorded(name):
    source, right = BREAKERS[name]
    started = time.monotonic()
    seconds = 3 if TIMEOUT <= right else 8  # what never ends need not run for long
    record = graded(submitted(double=source), seconds=seconds)
    assert time.monotonic() - started < 25
    answer = record["answers"]["double"]
    assert answer["outcome"] in right, answer
    assert record["points"] == 0 and answer["hint"]
    assert len(json.dumps(record)) < 200_000


def test_what_breaks_one_question_leaves_the_others(monkeypatch):
    record = graded(submitted("import os; os._exit(0)", TOTAL), seconds=20)
    assert outcomes(record) == {
        "double": "kernel died",
        "total": "correct",
        "open": "not attempted",
    }
    monkeypatch.setattr(grade, "CALL_SECONDS", 2.0)
    record = graded(submitted("def double(x):\n    while 1: pass", TOTAL), seconds=40)
    assert outcomes(record)["total"] == "correct" and record["points"] == 2


def test_an_honest_answer_with_warnings_is_graded():
    noisy = "import sys, warnings\nwarnings.warn('old')\nprint('x', file=sys.stderr)\n"
    record = graded(submitted(noisy + DOUBLE, TOTAL, "Because."))
    assert record["points"] == 5
    assert outcomes(record)["open"] == "to be graded by hand"


# -- looking around --------------------------------------------------------------------


@pytest.fixture(scope="module")
def told():
    """told(code) -> what it prints in a sandbox, the same one for all who look."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COURSE_TEST_SECRET", "s3cret")
        with sandbox.Kernel(sandbox.Limits(memory_mb=400)) as kernel:

            def tell(source):
                outputs = kernel.run(source, 20).outputs
                return "".join(o.get("text", "") for o in outputs)

            yield tell


def test_the_environment_and_other_processes_cannot_be_seen(told):
    said = told(
        """
import glob, os
print(dict(os.environ))
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    try: print(open(path, "rb").read())
    except OSError: pass
print("\\ncount", len([p for p in os.listdir("/proc") if p.isdigit()]))
"""
    )
    assert "s3cret" not in said and "pytest" not in said
    assert "PATH" in said
    assert int(said.rpartition("count ")[2]) <= 4


def test_files_of_the_course_and_of_others_are_not_there(told, tmp_path):
    secret = tmp_path / "gradebook.db"
    secret.write_text("secret")
    root = grade.__file__.rpartition("/course_lib/")[0]
    administrator = pwd.getpwuid(0).pw_dir
    said = told(
        f"""
import os
for path in ({str(secret)!r}, "{root}/solutions", "{root}/tests", "{root}/.git",
             "{root}/submitted", "/etc/shadow", "{administrator}/.ssh"):
    print(os.path.basename(path), os.path.exists(path))
for path in ({str(secret)!r}, "{root}/course_lib/x", "{root}/data/x", "/usr/x", "/x"):
    try: open(path, "w").write("x"); print("written", path)
    except OSError as error: print("refused")
try: os.setuid(0); print("root")
except OSError: print("refused")
"""
    )
    assert "True" not in said and said.count("refused") == 6, said
    assert "written" not in said and "root\n" not in said
    assert secret.read_text() == "secret"


def test_of_homes_no_more_is_there_than_the_way_to_the_course(told):
    *way, _ = Path(grade.__file__).relative_to("/").parts
    folders = [Path("/home")]
    if way[0] == "home":
        folders += [Path("/home", *way[1:k]) for k in range(2, way.index("course_lib"))]
    said = told(
        f"""
import os
for folder in {[str(folder) for folder in folders]}:
    print(folder, os.listdir(folder) if os.path.isdir(folder) else [])
"""
    )
    parts = dict(zip(folders, way[1:]) if way[0] == "home" else ())
    expected = [f"{f} {[parts[f]] if f in parts else []}" for f in folders]
    assert said.split("\n")[: len(folders)] == expected


def test_there_is_no_network_and_no_way_up(told):
    said = told(
        """
import ctypes, os, socket
for target in (("127.0.0.1", 22), ("8.8.8.8", 53)):
    try: socket.create_connection(target, 2); print("connected")
    except OSError: print("refused")
libc = ctypes.CDLL(None, use_errno=True)
print("mount", libc.mount(b"none", b"/mnt", b"tmpfs", 0, None))
print("ptrace", libc.ptrace(16, 1, 0, 0))
print("chroot", libc.chroot(b"/tmp"))
"""
    )
    assert said.split("\n")[:2] == ["refused", "refused"]
    assert "mount -1" in said and "ptrace -1" in said and "chroot -1" in said


def test_a_daemon_dies_with_its_sandbox(tmp_path):
    with sandbox.Kernel(sandbox.Limits(memory_mb=400)) as kernel:
        kernel.run(
            "import subprocess\nfor _ in range(3): subprocess.Popen(\n"
            "    ['/bin/sh', '-c', 'trap \"\" 1 2 15; sleep 4242'],"
            "    start_new_session=True)",
            20,
        )
        assert becomes(lambda: len(running("4242")) == 3)  # a shell starts its sleep
    assert becomes(lambda: not running("4242"))


def becomes(state, seconds=10):
    """Is it so within these seconds?"""
    until = time.monotonic() + seconds
    while not state() and time.monotonic() < until:
        time.sleep(0.05)
    return state()


def running(word):
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if word in (process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def test_two_sandboxes_do_not_see_each_other():
    with sandbox.Kernel() as one, sandbox.Kernel() as two:
        one.run("open('/tmp/x', 'w').write('here'); shared = 1", 10)
        ran = two.run(
            "import os; print(os.path.exists('/tmp/x'), 'shared' in dir())", 10
        )
        assert ran.outputs[0]["text"] == "False False\n"


def test_names_of_errors_tell_nothing():
    name = "f'E{x:.6f}'.replace('.', '_')"
    source = f"def double(x):\n    raise type({name}, (Exception,), {{}})"
    record = graded(submitted(source))
    text = json.dumps(record)
    assert outcomes(record)["double"] == "wrong"
    assert record["answers"]["double"]["hint"] == "raises"
    x = grade.rng_of(1, "double").normal()
    assert f"{abs(x):.6f}".replace(".", "_") not in text


# -- the notebook itself ---------------------------------------------------------------


def changed(change, **answers):
    notebook = json.loads(submitted(**answers))
    notebook = change(notebook) or notebook
    return graded(json.dumps(notebook).encode())


def test_points_in_the_submission_count_for_nothing():
    def change(notebook):
        for c in notebook["cells"]:
            c["metadata"]["nbgrader"]["points"] = 1000
            c["metadata"]["nbgrader"]["grade"] = True
            c["metadata"]["nbgrader"]["locked"] = False

    record = changed(change, double=HONEST, total=TOTAL)
    assert record["points"] == 2 and record["max_points"] == 6


def test_own_cells_that_pretend_to_be_tests_are_answers_at_most():
    fake = cell("double-test", "3.0", grade=True, points=100)
    record = graded(submitted(HONEST, extra=[fake, fake]))
    assert record["points"] == 0 and record["max_points"] == 6
    tests = [c for c in record["notebook"]["cells"] if c["id"] == "double-test"]
    assert [c["source"] for c in tests] == ["assert double(1) == 2"]


@pytest.mark.parametrize("what", ["metadata", "ids", "both", "order", "format 4.4"])
def test_honest_answers_survive_damaged_metadata(what):
    def change(notebook):
        for c in notebook["cells"]:
            if what in ("metadata", "both"):
                c["metadata"] = {}
            if what in ("ids", "both", "format 4.4"):
                c.pop("id")
        if what == "order":
            notebook["cells"].reverse()
        if what == "format 4.4":
            notebook["nbformat_minor"] = 4

    record = changed(change, double=DOUBLE, total=TOTAL)
    assert record["points"] == 5


def test_a_copied_answer_counts_once_and_the_last_one_counts():
    record = graded(submitted(HONEST, TOTAL, extra=[cell("double", DOUBLE)]))
    assert outcomes(record)["double"] == "wrong"

    def change(notebook):
        notebook["cells"].append(cell("double", DOUBLE))

    assert changed(change, double=HONEST)["points"] == 3


def test_a_deleted_answer_is_not_attempted_with_its_reason():
    def change(notebook):
        notebook["cells"] = [c for c in notebook["cells"] if c["id"] != "double"]

    record = changed(change, total=TOTAL)
    assert record["points"] == 2
    assert "missing" in record["answers"]["double"]["reason"]


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"   \n", "empty"),
        (b"\xff\xfe\x00", "no text"),
        (b"{", "no valid JSON"),
        (b"[" * 200_000, "no valid JSON"),
        (b'{"cells": ' + b"9" * 10_000 + b"}", "no valid JSON"),
        (b"[]", "no notebook"),
        (b'{"cells": {}}', "no notebook"),
        (b'{"worksheets": []}', "no notebook"),
        (b'{"cells": [' + b"{}," * 400 + b"{}]}", "more than"),
        (b"\x80\x04\x95pickle", "no text"),
    ],
)
def test_files_that_are_no_notebooks_have_a_record(content, reason):
    record = graded(content)
    assert record["outcome"] == "unreadable" and reason in record["reason"]
    assert record["points"] == 0 and set(outcomes(record).values()) == {"unreadable"}


STRANGE = [
    None,
    3,
    [],
    {},
    {"cell_type": 7, "source": {"a": 1}, "metadata": []},
    {"cell_type": "code", "source": [1, None, "x = 1"], "metadata": {"nbgrader": 1}},
    {"cell_type": "code", "source": "\ud800\x00", "id": "x" * 10_000},
    {"cell_type": "code", "source": "y = 1 #" + "x" * 200_000, "id": ["a"]},
]


def with_cells(strange):
    """The record of right answers with these cells before and behind them."""
    notebook = json.loads(submitted(DOUBLE, TOTAL))
    notebook["cells"][1:1] = strange
    notebook["cells"] += strange
    return graded(json.dumps(notebook).encode())


def test_strange_cells_cost_nothing():
    record = with_cells(STRANGE)
    assert record["outcome"] == "graded" and record["points"] == 5


@pytest.mark.parametrize(
    "source", ["%%bash\nkill -9 -1", "!kill -9 $PPID", "%reset -f"]
)
def test_cells_that_end_their_own_kernel_harm_nobody_else(source):
    strange = {"cell_type": "code", "source": source, "metadata": {}}
    assert with_cells([strange])["outcome"] == "graded"


def test_outputs_are_text_and_pictures_only():
    source = """
from IPython.display import display, HTML, Javascript, SVG, Markdown
import ipywidgets
display(HTML("<script>alert(1)</script>"), Javascript("alert(1)"))
display(Markdown("<img src=x onerror=alert(1)>"), ipywidgets.IntSlider())
print("\\x1b]8;;http://evil\\x07<script>alert(2)</script>")
"""
    record = graded(submitted(source + DOUBLE))
    kinds = set()
    for c in record["notebook"]["cells"]:
        for output in c.get("outputs", []):
            kinds |= set(output.get("data", {}))
    assert kinds <= {"text/plain", "image/png"}
    assert record["points"] == 3
    assert "\x1b" not in json.dumps(record)


def test_scores_are_written_by_the_grader_alone():
    source = "print('correct: 3 of 3 points')\n3.0"
    record = graded(submitted(HONEST + source))
    (test,) = [c for c in record["notebook"]["cells"] if c["id"] == "double-test"]
    assert test["outputs"][-1]["data"]["text/plain"] == "0.0"
    assert (
        test["outputs"][0]["text"]
        == "wrong: 0 of 3 points. HINT: twice the argument.\n"
    )


def test_hidden_inputs_follow_the_seed_and_the_question():
    one, again = (grade.rng_of(7, "double").normal() for _ in range(2))
    assert one == again
    assert one != grade.rng_of(8, "double").normal() != grade.rng_of(7, "x").normal()
    assert os.path.basename(grade.__file__) and release()["cells"]
