"""What is unusual in a submission, for the instructor to look at.

A notice accuses nobody: a learner may import `ctypes` for a good reason, and a copied
notebook may have lost its locked cells.  It changes no points.
"""

import re
import unicodedata

from course_lib.course.grading import submission

OTHERS = r"(?:torch|np|numpy|math|copy|json|base64|builtins)"
REACHES = {  # what an answer has no need of, and the words that show it
    "the grader's own code": r"course_lib\.course(\.| import )grading|"
    r"_course_call|plain\.encode",
    "the kernel": r"get_ipython\(\)\.(?:kernel|user_ns|ast_transformers|input_trans)",
    "Python's own names": r"\b(?:import|from) builtins\b|__builtins__|\bsys\.modules\b",
    "frames of callers": r"sys\._getframe|inspect\.(?:stack|currentframe)|f_locals",
    "memory of the process": r"\b(?:import|from) ctypes\b|gc\.get_(?:objects|ref)",
    "other processes": r"\bos\.(?:kill|fork|exec|setsid|_exit)|\bpsutil\b|/proc/",
    "methods of others": rf"^ *{OTHERS}\.[\w.]+ *= *(?:lambda|[a-z_]\w*$)|"
    rf"\bsetattr\(\s*{OTHERS}\b",
    "code made of text": r"(?<![\w.])(?:exec|eval|compile|__import__)\s*\(|"
    r"\bimport importlib\b|^%%?\w*(?:bash|sh|python|script)\b|^ *!",
}
HIDES = re.compile(  # what a reader of the cell does not see
    "[\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff]|\\S[ \\t]{120,}\\S"
)
PATTERNS = {name: re.compile(text, re.MULTILINE) for name, text in REACHES.items()}


def found(content: bytes, release: dict) -> set[str]:
    """Sentences about a submitted notebook; none for one that cannot be read."""
    try:
        cells = submission.cells(content)
    except submission.Unreadable:
        return set()
    reached = {
        name
        for cell in cells
        if cell["kind"] == "code"
        for name, pattern in PATTERNS.items()
        if pattern.search(unicodedata.normalize("NFKC", cell["source"]))  # as Python
    }
    sentences = {f"its code names {name}" for name in reached}
    if any(cell["kind"] == "code" and HIDES.search(cell["source"]) for cell in cells):
        sentences.add("hidden text: marks that do not show, or a long gap in a line")
    changed = _changed_cells(cells, release)
    if changed:
        sentences.add("hidden changes: locked cells differ: " + ", ".join(changed))
    return sentences


def _changed_cells(cells: list[dict], release: dict) -> list[str]:
    """Names of locked cells whose text in the submission is another one."""
    locked = {}
    for cell in release["cells"]:
        ours = cell.get("metadata", {}).get("nbgrader", {})
        if ours.get("grade_id") and not ours.get("solution"):
            locked[ours["grade_id"]] = submission.bare("".join(cell.get("source", "")))
    return sorted(
        {
            cell["grade_id"]
            for cell in cells
            if cell["grade_id"] in locked
            and submission.bare(cell["source"]) != locked[cell["grade_id"]]
        }
    )
