"""An instructor's first hour: the commands of docs/first_steps.md, and what they leave.

    pip install selenium        (and Debian's chromium and chromium-driver)
    python tools/instructor_walk.py [--to screenshots]

In a clone of the committed course every command of the section is run as it stands,
with the environment of this checkout instead of a new one.  Then the pages of solution
and feedback are opened in headless Chromium, and the table of grades is read.  Marking
in formgrader is the subject of `tools/grading_browser_check.py`.
"""

import argparse
import csv
import os
import re
import subprocess
import tempfile
from pathlib import Path

import browser_check as check

SECTION = "## An instructor's first hour"
NOT_AGAIN = ("make env", ".venv/bin/course data fetch")  # this checkout has both
PAGES = ("pages/08_lora.html", "feedback/bob/08_lora/08_lora.html")


def commands(document: Path) -> list[str]:
    """The lines of the blocks of shell commands in the instructor's section."""
    section = document.read_text("utf-8").partition(SECTION)[2]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def run(command: str, root: Path) -> None:
    """One command of the page, in a shell; its last lines are shown."""
    environment = {**os.environ, "PYTHONPATH": str(root), "COURSE_ROOT": str(root)}
    done = subprocess.run(
        command, shell=True, cwd=root, env=environment, capture_output=True, text=True
    )
    print(f"$ {command} -> {done.returncode}", flush=True)
    print("\n".join(f"    {x}" for x in done.stdout.rstrip().splitlines()[-6:]))
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def looked_at(root: Path, shots: Path) -> None:
    """Screenshots of the pages; each has the question's name and no error."""
    with tempfile.TemporaryDirectory() as profile:
        driver = check.browser(profile)
        try:
            for number, page in enumerate(PAGES, 1):
                driver.get((root / page).as_uri())
                text = driver.find_element("tag name", "body").text
                assert "08 Exercises" in text and "Traceback" not in text, page
                driver.save_screenshot(str(shots / f"instructor_{number}.png"))
        finally:
            driver.quit()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", default="screenshots", type=Path)
    shots = parser.parse_args().to.resolve()
    shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "course"
        subprocess.run(
            ["git", "clone", "--quiet", "--shared", check.ROOT, root], check=True
        )
        (root / ".venv").symlink_to(check.ROOT / ".venv")
        for command in commands(root / "docs" / "first_steps.md"):
            if not command.startswith(NOT_AGAIN):
                run(command, root)
        with open(root / "grades.csv", newline="", encoding="utf-8") as stream:
            rows = {row["student_id"]: row for row in csv.DictReader(stream)}
        print(rows)
        assert set(rows) == {"ann", "bob"}
        assert float(rows["ann"]["score"]) == 0 < float(rows["bob"]["score"])
        looked_at(root, shots)
    print("the hour is whole; look at", shots)


if __name__ == "__main__":
    main()
