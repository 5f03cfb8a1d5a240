"""A learner's first hour in headless Chromium, and an update of the course after it.

    pip install selenium        (and Debian's chromium and chromium-driver)
    python tools/learner_walk.py [--to screenshots]

In a clone of the committed course: `course lab`, lesson 00 in the learner's copy with
empty outputs, predictions, a run that shows them beside the results, an exercise wrong
and then right, its score, the dashboard.  Then a lesson and an exercise change in the
repository and arrive by `git pull`: the learner's cells are kept, and `git status` is
clean all the time.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import browser_check as check
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from course_lib.course.grading import bank

SHOW_TABLE = """
const page = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
[...page.querySelectorAll('table')].pop().scrollIntoView({block: 'center'});
"""
NUMBER, QUESTION = "03", "speed_up"
CURRENT = """
const done = arguments[arguments.length - 1], app = window.jupyterapp;
app.restored.then(async () => {
  for (let i = 0; i < 240 && !(app.shell.currentWidget || {}).sessionContext; i++)
    await new Promise(go => setTimeout(go, 500));
  const panel = app.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready;
  window.coursePanel = panel; done(panel.context.path);
}).catch(e => done('failed: ' + e));
"""
OUTPUTS = """
return window.coursePanel.content.widgets.filter(c => c.model.type === 'code')
  .map(c => c.model.outputs.length).reduce((a, b) => a + b, 0);
"""
RUN_ONE = """
const done = arguments[arguments.length - 1], notebook = window.coursePanel.content;
const at = notebook.widgets.findIndex(c => c.model.id === arguments[0]);
notebook.activeCellIndex = at; notebook.deselectAll();
notebook.scrollToItem(at, 'center')
  .then(() => window.jupyterapp.commands.execute('notebook:run-cell'))
  .then(() => done(at)).catch(e => done('failed: ' + e));
"""


def run(command, folder):
    """The text that a command prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    print("$", " ".join(map(str, command)), "->", done.returncode, flush=True)
    return done.stdout + done.stderr


def course(root, *arguments):
    """The `course` command of the clone."""
    return run([sys.executable, "-m", "course_lib.course.cli", *arguments], root)


def assert_clean(root):
    """Nothing that git tracks, or would, has changed."""
    found = run(["git", "status", "--porcelain"], root)
    assert found == "", found


def cloned(folder):
    """(the course's repository, the learner's clone), made from the last commit."""
    upstream, root = folder / "upstream", folder / "course"
    run(["git", "clone", "--quiet", "--shared", check.ROOT, upstream], folder)
    run(["git", "clone", "--quiet", "--shared", upstream, root], folder)
    return upstream, root


def lab_address(log, tries=240):
    """The address that `course lab --no-browser` prints."""
    for _ in range(tries):
        found = re.search(r"http://127\.0\.0\.1:\S+", log.read_text(errors="replace"))
        if found:
            return found[0]
        time.sleep(0.5)
    raise SystemExit(f"JupyterLab printed no address: {log.read_text()}")


def predicted(driver, shots):
    """Guess in lesson 00, run it all; what the cell with the result says."""
    assert isinstance(driver.execute_async_script(RUN_ONE, "guess"), int)
    check.check_until(
        driver, "return document.querySelectorAll('.widget-text input').length >= 2"
    )
    fields = driver.find_elements(By.CSS_SELECTOR, ".widget-text input")
    for field, guess in zip(fields, ("40", "60")):
        field.send_keys(guess, Keys.ENTER)
    time.sleep(2)
    driver.save_screenshot(str(shots / "walk_1_prediction.png"))
    assert check.run_all(driver) == "ran"
    driver.execute_async_script(check.SHOW, 13)
    time.sleep(1)
    driver.save_screenshot(str(shots / "walk_2_beside_the_result.png"))
    said = driver.execute_script(check.SAID, "transfer")
    assert driver.execute_async_script(check.SAVE) == "saved"
    return said


def answered(driver, root, shots):
    """Answer a question of an exercise wrong, then right; what was said each time."""
    (lesson,) = (root / "solutions").glob(f"{NUMBER}_*")
    found = [one for one in bank.entries(lesson) if one.question == QUESTION]
    wrong = next(one.source for one in found if one.hint == "inverse")
    right = next(one.source for one in found if one.hint is None)
    path = f"exercises/{lesson.name}/{lesson.name}.ipynb"
    assert driver.execute_async_script(check.OPEN, path) == "open"
    said = []
    for kind, source in (("wrong", wrong), ("right", right)):
        driver.execute_script(check.SET, QUESTION, source)
        assert check.run_all(driver) == "ran"
        said.append(driver.execute_script(check.SAID, f"{QUESTION}-test"))
        driver.execute_async_script(RUN_ONE, f"{QUESTION}-test")
        time.sleep(1)
        driver.save_screenshot(str(shots / f"walk_3_{kind}.png"))
        assert driver.execute_async_script(check.SAVE) == "saved"
        print(said[-1].strip(), flush=True)
        print(course(root, "score", NUMBER), flush=True)
    driver.execute_async_script(RUN_ONE, "quiz")
    time.sleep(8)
    driver.execute_script(SHOW_TABLE)
    time.sleep(1)
    driver.save_screenshot(str(shots / "walk_4_dashboard.png"))
    return lesson.name, right, said


def changed(upstream, name):
    """Change a text of lesson 00 and of the exercise in the repository."""
    pages = [upstream / "notebooks" / "00_start_here.ipynb"]
    pages.append(upstream / "exercises" / name / f"{name}.ipynb")
    pages.append(pages[-1].with_name(".released.ipynb"))
    for page in pages:
        notebook = json.loads(page.read_text("utf-8"))
        notebook["cells"][0]["source"] += ["\n", "\n", "A sentence that is new."]
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        page.write_text(text, "utf-8")
    author = ["-c", "user.name=course", "-c", "user.email=course@example.org"]
    run(["git", *author, "commit", "--quiet", "-am", "A change"], upstream)


def walk(root, shots, log):
    """The part in the browser; the exercise's name and the right answer."""
    with open(log, "wb") as stream, tempfile.TemporaryDirectory() as profile:
        command = [sys.executable, "-m", "course_lib.course.cli", "lab"]
        command += ["--no-browser", f"--port={check.free_port()}"]
        command += ["--expose-app-in-browser"]
        lab = subprocess.Popen(command, cwd=root, stdout=stream, stderr=stream)
        driver = None
        try:
            address = lab_address(log)
            assert "/lab/tree/notebooks/00_start_here.ipynb?token=" in address, address
            driver = check.browser(profile)
            driver.get(address)
            opened = driver.execute_async_script(CURRENT)
            assert opened == "notebooks/00_start_here.ipynb", opened
            assert driver.execute_script(OUTPUTS) == 0, "outputs are there before a run"
            said = predicted(driver, shots)
            print(said, flush=True)
            assert said.count("You predicted") == 2, said
            name, right, said = answered(driver, root, shots)
            assert "incorrect" in said[0] and "visible test passes" in said[1], said
        finally:
            if driver:
                driver.quit()
            lab.terminate()
            lab.wait()
    return name, right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", default="screenshots", type=Path)
    shots = parser.parse_args().to.resolve()
    shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        upstream, root = cloned(folder)
        os.environ["PYTHONPATH"] = str(
            root
        )  # the clone's code, wherever it is installed
        os.environ["COURSE_PROGRESS"] = str(folder / "progress.json")
        os.environ["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
        name, right = walk(root, shots, shots / "walk_lab.log")
        board = course(root, "check")
        (shots / "walk_dashboard.txt").write_text(board)
        print(board)
        assert "1 of 2" in board  # 40 was close to 34, 60 not to 86
        assert "return" in course(root, "solution", NUMBER, QUESTION)
        assert_clean(root)
        changed(upstream, name)
        print(run(["git", "pull", "--quiet"], root))
        print(course(root, "copy"))
        lesson = root / "my_course" / "notebooks" / "00_start_here.ipynb"
        exercise = root / "my_course" / "exercises" / name / f"{name}.ipynb"
        for page in (lesson, exercise):
            assert "A sentence that is new." in page.read_text("utf-8"), page
        assert "You predicted 40" in lesson.read_text("utf-8")
        cells = json.loads(exercise.read_text("utf-8"))["cells"]
        (kept,) = ("".join(c["source"]) for c in cells if c["id"] == QUESTION)
        assert kept.strip() == right.strip()
        assert_clean(root)
    print("the walk is whole; look at", shots)


if __name__ == "__main__":
    main()
