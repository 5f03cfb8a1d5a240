"""The ledger of claims: what tutorials say, and what this course's cells found.

``data/claims.csv`` has one row a claim.  A lesson states its finding with
:func:`record`; the row names the notebook and the cell that did, or says ``pending``.
``python -m course_lib.lessons.claims`` fills the rows from the executed notebooks, and
a test compares the two.  Every lesson.
"""

import csv
import io
import json
import re
from pathlib import Path

from course_lib import files, paths
from course_lib.errors import CourseError

LEDGER = "claims.csv"
FIELDS = (
    "id",
    "lesson",
    "claim",
    "figure",
    "source",
    "test",
    "verdict",
    "finding",
    "notebook",
    "cell",
    "second_try",
)
VERDICTS = ("confirmed", "refuted", "qualified", "cited")
PENDING = "pending"
SAID = "|".join(verdict.capitalize() for verdict in VERDICTS)
PRINTED = re.compile(rf"^Claim (C\d\d): (.+?)\. ({SAID}): (.+)$", re.MULTILINE)
WORLDS = re.compile(r"\b(Small|Real) world\b")  # what is said of a world begins so
CALLED = re.compile(r"claims\.record\(\s*[\"'](C\d\d)[\"']")


def ledger() -> list[dict[str, str]]:
    """Every row of the ledger as {id, lesson, claim, figure, source, test, verdict,
    finding, notebook, cell, second_try}.

    second_try: how somebody who had not written the experiment tried the claim another
    way, or empty.  Raises CourseError when the ledger is damaged.
    """
    path = paths.DATA / LEDGER
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(
            f"data/{LEDGER} is missing.\nExpected: the ledger of claims.\n"
            f"Do: git checkout -- data/{LEDGER}"
        ) from None
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise CourseError(
            f"data/{LEDGER} has the columns {reader.fieldnames}.\nExpected: "
            f"{', '.join(FIELDS)}.\nDo: git checkout -- data/{LEDGER}"
        )
    return list(reader)


def claim(id: str) -> dict[str, str]:
    """The row of one claim.  Raises CourseError for an unknown id."""
    rows = {row["id"]: row for row in ledger()}
    if id not in rows:
        raise CourseError(
            f"There is no claim {id!r}. Expected one of {min(rows)} to {max(rows)}; "
            "`course claims` lists them."
        )
    return rows[id]


def by_world(finding: str) -> dict[str, str]:
    """A finding in parts: {"": what holds for both, "Small world": ..., "Real world"}.

    The parts in their order; only those that the finding has.
    """
    starts = [found.start() for found in WORLDS.finditer(finding)]
    parts = {"": finding[: starts[0]] if starts else finding}
    for start, end in zip(starts, [*starts[1:], len(finding)]):
        world = WORLDS.match(finding, start)[0]
        text = finding[start:end].removeprefix(world).strip(" ,;:.")
        parts[world] = "; ".join(filter(None, (parts.get(world), text)))
    parts[""] = parts[""].strip(" ,;.")
    return {world: text for world, text in parts.items() if text}


def totals() -> dict[str, int]:
    """Number of rows by verdict, pending last."""
    verdicts = [row["verdict"] for row in ledger()]
    return {v: verdicts.count(v) for v in (*VERDICTS, PENDING) if v in verdicts}


def record(id: str, *, verdict: str, finding: str, holds: bool | None = None) -> None:
    """State in a lesson what became of a claim; prints both.

    The line reads ``Claim C22: what is claimed. Qualified: finding``.
    ``holds`` is the computed condition on which the verdict rests: AssertionError when
    it is not true.  Only a claim that is merely cited goes without.  Raises CourseError
    when the ledger has another verdict for this claim.
    """
    row = claim(id)
    if verdict not in VERDICTS or not finding or "\n" in finding:
        raise CourseError(
            f"claims.record({id!r}): verdict={verdict!r}, finding={finding!r}.\n"
            f"Expected: a verdict among {', '.join(VERDICTS)}, and a one-line finding."
        )
    if holds is None and verdict != "cited":
        raise CourseError(
            f"claims.record({id!r}): the verdict {verdict!r} rests on nothing.\n"
            "Expected: holds=<the computed condition>; only 'cited' goes without."
        )
    if holds is not None and not bool(holds):
        raise AssertionError(
            f"{id}: the numbers computed here no longer support the verdict "
            f"'{verdict}' ({finding}). Claim: {row['claim']}."
        )
    if row["verdict"] not in (verdict, PENDING):
        raise CourseError(
            f"claims.record({id!r}): this cell says {verdict!r}, data/{LEDGER} says "
            f"{row['verdict']!r}.\nExpected: the same verdict.\nDo: correct the cell, "
            "or run `python -m course_lib.lessons.claims` after executing the notebook."
        )
    print(f"Claim {id}: {row['claim'].rstrip('.')}. {verdict.capitalize()}: {finding}")


# -- the ledger against the notebooks ---------------------------------------------


def recorded(folder: Path | None = None) -> dict[str, dict[str, str]]:
    """{id: {verdict, finding, notebook, cell}} as the executed notebooks print them.

    A cell that calls record() without having printed gives an empty verdict.  Raises
    CourseError when two cells record the same claim.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted((folder or paths.NOTEBOOKS).glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            printed = {
                id: (verdict.lower(), finding)
                for id, _, verdict, finding in PRINTED.findall(_printed(cell))
            }
            for id in CALLED.findall(_text(cell["source"])):
                if id in found:
                    raise CourseError(
                        f"{id} is recorded in {found[id]['notebook']} and again in "
                        f"{path.name}. Expected: one cell for each claim."
                    )
                verdict, finding = printed.get(id, ("", ""))
                found[id] = dict(
                    verdict=verdict,
                    finding=finding,
                    notebook=path.name,
                    cell=cell.get("id", ""),
                )
    return found


def _text(part) -> str:
    return "".join(part) if isinstance(part, list) else part


def _printed(cell: dict) -> str:
    streams = (o for o in cell.get("outputs", []) if o.get("name") == "stdout")
    return "".join(_text(o["text"]) for o in streams)


def disagreements(folder: Path | None = None) -> list[str]:
    """Everything in which the ledger and the executed notebooks differ, in words."""
    found, problems = recorded(folder), []
    rows = ledger()
    for row in rows:
        id, cell = row["id"], found.get(row["id"])
        if row["verdict"] not in (*VERDICTS, PENDING):
            problems.append(f"{id}: {row['verdict']!r} is no verdict")
        elif row["verdict"] == PENDING:
            if cell:
                problems.append(f"{id}: pending, but recorded in {cell['notebook']}")
            if row["finding"] or row["notebook"] or row["cell"]:
                problems.append(f"{id}: pending, yet it names a finding or a cell")
        elif cell is None:
            problems.append(f"{id}: {row['verdict']}, but no cell records it")
        else:
            problems += [
                f"{id}: {key} is {row[key]!r} in the ledger, {cell[key]!r} in the cell"
                for key in cell
                if row[key] != cell[key]
            ]
    known = {row["id"] for row in rows}
    problems += [f"{id}: recorded, but not in the ledger" for id in set(found) - known]
    return sorted(problems)


def collect() -> list[str]:
    """Fill the ledger from the executed notebooks; returns the ids that changed.

    A claim that no notebook records becomes pending.
    """
    found, changed, rows = recorded(), [], ledger()
    blank = dict(verdict=PENDING, finding="", notebook="", cell="")
    for row in rows:
        cell = found.get(row["id"], blank)
        if not cell["verdict"]:
            raise CourseError(
                f"{row['id']} is recorded in {cell['notebook']}, which has no output "
                "for it.\nDo: execute the notebook first."
            )
        if any(row[key] != cell[key] for key in cell):
            row.update(cell)
            changed.append(row["id"])
    write(rows)
    return changed


def write(rows: list[dict[str, str]]) -> None:
    """Write the ledger, sorted by id."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row["id"]))
    files.atomic_write_bytes(paths.DATA / LEDGER, out.getvalue().encode("utf-8"))


if __name__ == "__main__":
    print("changed:", ", ".join(collect()) or "nothing")
