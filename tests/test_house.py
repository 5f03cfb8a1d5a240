"""The house: imports run downward, names say one thing, functions fit on a page.

Each check takes the root of a tree and returns what is wrong there, in words; each is
shown to find a planted case.  docs/architecture.md gives the rules and their reasons.
"""

import ast
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from course_lib import paths

ORDER = (  # a module may import of its own package and of those to the left
    "errors",
    "paths",
    "files",
    "profiles",
    "assets",
    "datasets",
    "pretraining",
    "models",
    "training",
    "methods",
    "analysis",
    "memory",
    "show",
    "diagnose",
    "jobs",
    "lessons",
    "course",
)
TOP_FILES, LINES, PARAMETERS = 6, 60, 8
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def library(root):
    """{module: path} of course_lib; a package goes by its own name."""
    found = {}
    for path in sorted((root / "course_lib").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(node, module, path):
    """[(module, name, what it is called here)] of an import.

    The name is None where all of a module is taken.
    """
    if isinstance(node, ast.Import):
        names = [(alias.name, alias.asname) for alias in node.names]
        return [(name, None, local or name.partition(".")[0]) for name, local in names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        up = node.level - (path.name == "__init__.py")
        package = module.split(".")[: -up or None]
        base = ".".join([*package, *([base] if base else [])])
    return [(base, alias.name, alias.asname or alias.name) for alias in node.names]


@cache
def own_imports(root):
    """{module: {(imported module, line, in a function)}}, within course_lib."""
    modules = library(root)
    found = {name: set() for name in modules}
    for name, path in modules.items():
        inside = {
            id(node)
            for function in ast.walk(tree(path))
            if isinstance(function, FUNCTIONS)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree(path)):
            for base, taken, _ in imported(node, name, path):
                target = f"{base}.{taken}" if f"{base}.{taken}" in modules else base
                if target in modules and target != name:
                    found[name].add((target, node.lineno, id(node) in inside))
    return found


def package(module):
    """The package below course_lib, or the file of the ground floor."""
    return (module.split(".") + ["", ""])[1]


# -- the checks -------------------------------------------------------------------


def upward_imports(root):
    """Imports of a package further to the right, and packages without a place."""
    wrong = []
    for module, targets in own_imports(root).items():
        if package(module) and package(module) not in ORDER:
            wrong.append(f"{module}: {package(module)!r} has no place in the order")
            continue
        for target, line, _ in sorted(targets):
            known = {package(module), package(target)} <= set(ORDER)
            if known and ORDER.index(package(target)) > ORDER.index(package(module)):
                wrong.append(f"{module}:{line} imports {target}, which is above it")
    return wrong


def circles(root):
    """Modules that import one another in a ring, imports in functions included.

    A sibling that is asked for by its name, ``from course_lib.models import zoo``, is
    an arrow to the sibling and none to the package.
    """
    arrows = {m: {t for t, *_ in targets} for m, targets in own_imports(root).items()}
    index, low, stack, rings = {}, {}, [], []

    def visit(module):  # Tarjan 1972: strongly connected components
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(arrows[module]):
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            ring = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(ring) > 1:
                rings.append("a circle: " + ", ".join(sorted(ring)))

    for module in arrows:
        if module not in index:
            visit(module)
    return rings


def imports_in_functions(root):
    """Imports of the course's own modules below the top of a file."""
    return [
        f"{module}:{line} imports {target} in a function"
        for module, targets in own_imports(root).items()
        for target, line, inside in sorted(targets)
        if inside
    ]


def private_names(root):
    """Names with an underscore in front that another file of the project uses."""
    tests = sorted((root / "tests").rglob("*.py"))
    own = {"course_lib", "tests", *(path.stem for path in tests)}
    wrong = []
    for module, path in [*library(root).items(), *(("", path) for path in tests)]:
        nodes, ours, found = list(ast.walk(tree(path))), set(), []
        for node in nodes:
            for base, taken, local in imported(node, module, path):
                if base.partition(".")[0] in own:
                    ours.add(local)
                    found += [(node, taken)] if is_private(taken or "") else []
        for node in nodes:
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                if ast.unparse(node.value).partition(".")[0] in ours:
                    found.append((node, ast.unparse(node)))
            for name in patched(node, ours):
                found.append((node, name))
        place = path.relative_to(root)
        wrong += [f"{place}:{node.lineno} uses {name}" for node, name in found]
    return wrong


def patched(node, ours):
    """Private names that a call of setattr or delattr, as of monkeypatch, names."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return []
    if node.func.attr not in ("setattr", "delattr") or not node.args:
        return []
    strings = [a.value for a in node.args if isinstance(a, ast.Constant)]
    of_ours = ast.unparse(node.args[0]).partition(".")[0] in ours
    return [
        name
        for name in map(str, strings[:1])
        if (of_ours or name.startswith("course_lib."))
        and any(map(is_private, name.split(".")))
    ]


def is_private(name):
    """With an underscore in front; __init__ and IPython's _repr_html_ are protocols."""
    return name.startswith("_") and not name.endswith("_")


def double_names(root):
    """Modules or packages of course_lib that share their last name."""
    by_name = defaultdict(list)
    for module, path in library(root).items():
        if path.name != "__main__.py":
            by_name[module.rpartition(".")[2]].append(module)
    return [f"{' and '.join(m)} share a name" for m in by_name.values() if len(m) > 1]


def functions(root):
    """(place, node, is it a method) of every function of course_lib."""
    for path in library(root).values():
        methods = {
            id(node)
            for owner in ast.walk(tree(path))
            if isinstance(owner, ast.ClassDef)
            for node in owner.body
        }
        for node in ast.walk(tree(path)):
            if isinstance(node, FUNCTIONS):
                where = f"{path.relative_to(root)}:{node.lineno} {node.name}"
                yield where, node, id(node) in methods


def long_functions(root):
    """Functions of more than LINES lines, their docstring included."""
    sizes = {w: n.end_lineno - n.lineno + 1 for w, n, _ in functions(root)}
    return [f"{where}: {size} lines" for where, size in sizes.items() if size > LINES]


def wide_functions(root):
    """Functions of more than PARAMETERS; *args and **kwargs count as one each."""
    wrong = []
    for where, node, method in functions(root):
        a = node.args
        named = [*a.posonlyargs, *a.args, *a.kwonlyargs]
        count = len(named) + bool(a.vararg) + bool(a.kwarg)
        if method and named and named[0].arg in ("self", "cls"):
            count -= 1
        if count > PARAMETERS:
            wrong.append(f"{where}: {count} parameters")
    return wrong


def crowded_top(root):
    """More than TOP_FILES files at the top of course_lib."""
    files = sorted(path.name for path in (root / "course_lib").glob("*.py"))
    return [f"{len(files)} files: {', '.join(files)}"] if len(files) > TOP_FILES else []


CHECKS = (
    upward_imports,
    circles,
    imports_in_functions,
    private_names,
    double_names,
    long_functions,
    wide_functions,
    crowded_top,
)
each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)


@pytest.mark.slow
@each_check
def test_the_house_is_in_order(check):
    assert check(paths.ROOT) == []


NAMED = re.compile(
    r"\b(?:course_lib|tests|notebooks|data|docs|tools|benchmarks)(?:/[\w.-]+)+"
)


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md"])
def test_the_documents_name_files_that_there_are(document):
    text = (paths.ROOT / document).read_text("utf-8")
    named = {name.rstrip(".") for name in NAMED.findall(text)}
    assert len(named) > 5
    patterns = {re.sub("NN_name|NN|NAME", "*", name) for name in named}
    assert [p for p in sorted(patterns) if not any(paths.ROOT.glob(p))] == []


# -- planted cases ----------------------------------------------------------------

SOUND = {
    "course_lib/__init__.py": "",
    "course_lib/errors.py": "class CourseError(Exception): ...\n",
    "course_lib/models/__init__.py": "",
    "course_lib/models/zoo.py": "from course_lib.errors import CourseError\n"
    "def load(name): import torch\n",
    "course_lib/training/__init__.py": "from course_lib.training.loop import fit\n",
    "course_lib/training/loop.py": "from course_lib.models import zoo\n"
    "class Loop:\n    def _step(self): return self._step()\n"
    f"def fit({', '.join('abcdefgh')}): return zoo.load(a)\n",
    "tests/test_loop.py": "from course_lib.training import loop\nloop.fit.__name__\n"
    "loop.Loop()._repr_html_()\n",
}
PLANTED = {
    upward_imports: [
        {"course_lib/models/zoo.py": "from course_lib.training import loop\n"},
        {"course_lib/models/zoo.py": "import course_lib.training.loop\n"},
        {"course_lib/models/zoo.py": "from ..training import loop\n"},
        {"course_lib/models/zoo.py": "def load():\n from course_lib import training\n"},
        {"course_lib/attic/__init__.py": ""},
    ],
    circles: [
        {
            "course_lib/models/zoo.py": "from course_lib.models import text\n",
            "course_lib/models/text.py": "def f():\n import course_lib.models.zoo\n",
        },
        {"course_lib/training/loop.py": "from course_lib.training import fit\n"},
        {
            "course_lib/models/zoo.py": "from . import text\n",
            "course_lib/models/text.py": "from .heads import x\n",
            "course_lib/models/heads.py": "from .zoo import load\n",
        },
    ],
    imports_in_functions: [
        {"course_lib/training/loop.py": "def f():\n from ..models import zoo\n"},
        {"course_lib/models/__init__.py": "def f():\n from . import zoo\n"},
        {
            "course_lib/training/loop.py": "class A:\n async def f(self):\n"
            "  if self:\n   import course_lib.errors\n"
        },
    ],
    private_names: [
        {"course_lib/training/loop.py": "from course_lib.models.zoo import _x\n"},
        {"course_lib/training/loop.py": "from course_lib.models import zoo\nzoo._x\n"},
        {"tests/test_zoo.py": "from course_lib.models import zoo as z\nz._made()\n"},
        {"tests/test_zoo.py": "from course_lib.models.zoo import Net\nNet._made\n"},
        {
            "tests/test_zoo.py": "from course_lib.models import zoo\n"
            "def test(monkeypatch): monkeypatch.setattr(zoo, '_made', 1)\n"
        },
        {"tests/test_zoo.py": "import course_lib.models.zoo\ncourse_lib.models.zoo._x"},
        {"tests/test_zoo.py": "m.setattr('course_lib.models.zoo._made', 1)\n"},
        {"tests/test_zoo.py": "from test_loop import _helper\n"},
    ],
    double_names: [
        {"course_lib/training/zoo.py": ""},
        {"course_lib/models/training.py": ""},
    ],
    long_functions: [
        {"course_lib/models/zoo.py": "def f():\n" + " pass\n" * LINES},
        {"course_lib/models/zoo.py": "class A:\n def f(self):\n" + "  pass\n" * LINES},
    ],
    wide_functions: [
        {"course_lib/models/zoo.py": "def f(a, b, c, d, e, f, g, /, h, *, i): ...\n"},
        {"course_lib/models/zoo.py": "def f(a, b, c, d, e, f, g, *h, **i): ...\n"},
        {
            "course_lib/models/zoo.py": "class A:\n"
            "    def f(self, a, b, c, d, e, f, g, h, i): ...\n"
        },
    ],
    crowded_top: [{f"course_lib/file{i}.py": "" for i in range(5)}],
}
CASES = [(check, case) for check, cases in PLANTED.items() for case in cases]


def built(root: Path, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@each_check
def test_a_sound_tree_passes(check, tmp_path):
    assert check(built(tmp_path, SOUND)) == []


@pytest.mark.parametrize("check, case", CASES, ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_planted_is_found(check, case, tmp_path):
    assert len(check(built(tmp_path, SOUND | case))) == 1


def test_every_check_has_a_planted_case():
    assert Counter(PLANTED.keys()) == Counter(CHECKS)
