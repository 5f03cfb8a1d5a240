"""The round trip of an exercise in headless Chromium: learner, grader, open question.

    pip install selenium        (and Debian's chromium, chromium-driver and bubblewrap)
    python tools/grading_browser_check.py [--lesson 08] [--to screenshots]

In a copy of the course a learner opens the exercise in JupyterLab, runs it as it is,
gives a wrong answer and reads its hint, gives the right one and reads the success; the
work is collected and graded; an instructor marks the open question in formgrader.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import browser_check as check
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from course_lib.course.grading import bank, gradebook, release

TRIES = 120


def course(*arguments, root):
    """Run the `course` command on the copy."""
    command = [sys.executable, "-m", "course_lib.course.cli", *arguments]
    environment = {**os.environ, "COURSE_ROOT": str(root)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def copied(folder: Path) -> Path:
    """The course, as far as the round trip needs it."""
    root = folder / "course"
    for name in ("exercises", "solutions", "data"):
        shutil.copytree(check.ROOT / name, root / name)
    (root / "notebooks").mkdir()
    for path in (check.ROOT / "notebooks").glob("00_*.ipynb"):
        shutil.copy(path, root / "notebooks")
    shutil.copy(check.ROOT / "nbgrader_config.py", root)
    return root


def learner(driver, address, name, question, answers):
    """Untouched, wrong, right; what the visible test said each time."""
    driver.get(f"{address}/lab?token=course")
    check.check_until(
        driver, "return !!(window.jupyterapp && window.jupyterapp.restored)"
    )
    path = f"exercises/{name}/{name}.ipynb"
    assert driver.execute_async_script(check.OPEN, path) == "open"
    said = []
    for source in (None, *answers):
        if source:
            driver.execute_script(check.SET, question, source)
        assert check.run_all(driver) == "ran"
        said.append(driver.execute_script(check.SAID, f"{question}-test"))
        print(said[-1].strip(), flush=True)
    driver.execute_script(check.SET, "when_not", "Because the spectrum decays slowly.")
    assert driver.execute_async_script(check.SAVE) == "saved"
    return said


def mark(driver, address, name, lesson):
    """Give one point for the open question in formgrader; the score afterwards."""
    from nbgrader.api import Gradebook

    with Gradebook(gradebook.url()) as book:
        one = book.find_submission_notebook(name, name, "ann")
        before, where, full = one.score, one.id, one.max_score
    driver.get(f"{address}/formgrader/submissions/{where}/?token=course")
    check.check_until(
        driver, "return document.querySelectorAll('input.score').length > 0"
    )
    boxes = driver.find_elements(By.CSS_SELECTOR, "input.score")
    box = boxes[-1]  # the open question is the last
    driver.execute_script("arguments[0].scrollIntoView()", box)
    box.clear()
    box.send_keys("1", Keys.TAB)
    for _ in range(TRIES):
        with Gradebook(gradebook.url()) as book:
            after = book.find_submission_notebook(name, name, "ann").score
        if after != before:
            break
        time.sleep(0.5)
    return before, after, full


def main() -> None:
    """Run the round trip; an assertion or a line with the score."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", default="screenshots")
    arguments = parser.parse_args()
    shots = Path(arguments.to)
    shots.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        root = copied(folder)
        os.environ["COURSE_ROOT"] = str(root)
        os.environ["COURSE_PROGRESS"] = str(folder / "progress.json")
        gradebook.find_commands()
        (lesson,) = release.lessons(["08"])
        name, question = lesson.name, "lora_forward"
        found = [e for e in bank.entries(lesson) if e.question == question]
        wrong = next(e.source for e in found if e.hint == "base only")
        right = next(e.source for e in found if e.hint is None)
        port = check.free_port()
        address = f"http://127.0.0.1:{port}"
        with open(folder / "lab.log", "w") as log:
            lab = check.started_lab(port, "course", log)
            driver = check.browser(folder / "profile")
            try:
                said = learner(driver, address, name, question, (wrong, right))
                driver.save_screenshot(str(shots / "exercise.png"))
                assert "not attempted" in said[0]
                assert "incorrect" in said[1] and "B writes 3 times" in said[1]
                assert ": visible test passes" in said[2]
                inbox = folder / "inbox"
                inbox.mkdir()
                own = root / "my_course" / "exercises" / name / f"{name}.ipynb"
                shutil.copy(own, inbox / "ann.ipynb")
                course("collect", "08", "--from", str(inbox), root=root)
                course("grade", "08", root=root)
                before, after, full = mark(driver, address, name, lesson)
                driver.save_screenshot(str(shots / "formgrader.png"))
                assert after == before + 1, (before, after)
                print(f"formgrader: {before:g} of {full:g} points, then {after:g}")
            finally:
                driver.quit()
                lab.terminate()
                lab.wait(30)


if __name__ == "__main__":
    main()
