"""Run lessons in JupyterLab as a reader does: Run All in headless Chromium.

    pip install selenium        (and Debian's chromium and chromium-driver)
    python tools/browser_check.py [--lessons 00 01] [--to screenshots]

Starts `course lab` on a free port, opens each lesson, runs all cells through
JupyterLab's own command, and fails if a cell was not executed, shows an error or writes
to stderr, or if a slider is moved and the figure above it does not change.  Screenshots
of each lesson, top to bottom, are written for a human eye.  It works in a copy, as a
learner does; the notebooks are left as they are.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).resolve().parents[1]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1600",
)
OPEN = """
const done = arguments[arguments.length - 1], path = arguments[0];
const app = window.jupyterapp;
app.restored.then(async () => {
  const panel = await app.commands.execute('docmanager:open', {path});
  await panel.context.ready; await panel.sessionContext.ready;
  window.coursePanel = panel; app.shell.activateById(panel.id); done('open');
}).catch(e => done('failed: ' + e));
"""
RUN = """
window.courseState = '';
window.jupyterapp.shell.activateById(window.coursePanel.id);
window.jupyterapp.commands.execute('notebook:run-all-cells')
  .then(() => { window.courseState = 'ran'; })
  .catch(e => { window.courseState = 'failed: ' + e; });
"""
STATE = "return window.courseState;"
READ = """
const cells = window.coursePanel.content.widgets;
return cells.filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim())
  .map(c => ({count: c.model.executionCount, outputs: c.model.outputs.toJSON().map(
    o => ({kind: o.output_type, name: o.name || '', text: String(
      o.evalue || o.text || '').slice(0, 200)}))}));
"""
SCROLL = """
const pane = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) '
  + '.jp-WindowedPanel-outer') || document.querySelector('.jp-Notebook');
pane.scrollTop = arguments[0]; return [pane.scrollHeight, pane.clientHeight];
"""

SET = """
const cells = window.coursePanel.content.widgets;
const cell = cells.find(c => c.model.id === arguments[0]);
cell.model.sharedModel.setSource(arguments[1]);
"""
SAID = """
const cells = window.coursePanel.content.widgets;
const cell = cells.find(c => c.model.id === arguments[0]);
return cell.model.outputs.toJSON().map(o => String(o.text || '')).join('');
"""
SAVE = """
const done = arguments[arguments.length - 1];
window.coursePanel.context.save().then(() => done('saved')).catch(e => done('' + e));
"""
WIDGETS = """
const done = arguments[arguments.length - 1], notebook = window.coursePanel.content;
const kind = 'application/vnd.jupyter.widget-view+json';
const cells = notebook.widgets.map((c, i) => [c, i]).filter(([c]) =>
  c.model.type === 'code' && c.model.sharedModel.source.includes('widgets.explore(')
  && c.model.outputs.toJSON().some(o => (o.data || {})[kind]));
Promise.all(cells.map(async ([c, i]) => {
  await notebook.scrollToItem(i, 'center'); return i;
})).then(done).catch(e => done('failed: ' + e));
"""
SHOW = """
const done = arguments[arguments.length - 1];
window.coursePanel.content.scrollToItem(arguments[0], 'center').then(() => done(true));
"""
HANDLES = """
return [...window.coursePanel.content.widgets[arguments[0]].node
  .querySelectorAll('.widget-slider .noUi-handle')];
"""
PICTURE = """
const cell = window.coursePanel.content.widgets[arguments[0]].node;
const image = cell.querySelector('.jupyter-widgets img');
return image ? image.src.length + image.src.slice(-400) : null;
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started_lab(port, token, log):
    """JupyterLab as the README starts it, without opening a browser of its own."""
    command = [
        sys.executable,
        "-m",
        "course_lib.course.cli",
        "lab",
        "--no-browser",
        f"--port={port}",
        f"--IdentityProvider.token={token}",
        "--expose-app-in-browser",
    ]
    lab = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}")
            return lab
        except OSError:
            time.sleep(0.5)
    lab.terminate()
    raise SystemExit("JupyterLab did not start within two minutes; see lab.log")


def check_until(driver, script, *arguments, tries=120):
    """Wait until the script returns something true, and return it."""
    for _ in range(tries):
        found = driver.execute_script(script, *arguments)
        if found:
            return found
        time.sleep(0.5)
    raise SystemExit(f"not within {tries / 2:.0f} s: {script}")


def browser(profile):
    options = Options()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_script_timeout(600)
    driver.command_executor.client_config.timeout = 700  # seconds: above the script's
    return driver


def run_all(driver, limit=600):
    """Run All, waiting in short calls: the driver's own connection times out."""
    driver.execute_script(RUN)
    for _ in range(limit):
        state = driver.execute_script(STATE)
        if state:
            return state
        time.sleep(1)
    return f"not finished after {limit} s"


def problems(cells):
    found = []
    for i, cell in enumerate(cells):
        if cell["count"] is None:
            found.append(f"code cell {i} was not executed")
        for output in cell["outputs"]:
            if output["kind"] == "error" or output["name"] == "stderr":
                found.append(f"code cell {i}: {output['kind']} {output['text']}")
    return found


def moved_sliders(driver):
    """Move the last slider of each interactive figure; what did not follow, in words.

    Returns (number of interactive figures, problems).
    """
    cells, found = driver.execute_async_script(WIDGETS), []
    if not isinstance(cells, list):
        return 0, [cells]
    for cell in cells:
        driver.execute_async_script(SHOW, cell)
        time.sleep(2)
        before = driver.execute_script(PICTURE, cell)
        handles = driver.execute_script(HANDLES, cell)
        if not before or not handles:
            found.append(f"cell {cell}: no figure or no slider in its widget")
            continue
        for _ in range(4):
            handles[-1].send_keys(Keys.ARROW_RIGHT)
        for _ in range(20):
            time.sleep(0.5)
            if driver.execute_script(PICTURE, cell) != before:
                break
        else:
            found.append(f"cell {cell}: the slider moved, the figure did not change")
    return len(cells), found


def shots(driver, folder, stem, most=12):
    """Pictures of the lesson from top to bottom."""
    top, page = 0, 0
    while page < most:
        height, view = driver.execute_script(SCROLL, top)
        time.sleep(0.7)
        driver.save_screenshot(str(folder / f"{stem}_{page:02}.png"))
        top, page = top + int(0.9 * view), page + 1
        if top >= height:
            break


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lessons", nargs="*", default=[""])
    parser.add_argument("--to", default="screenshots", type=Path)
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    port, token, failed = free_port(), "browsercheck", False
    lessons = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    lessons = [p for p in lessons if any(p.stem.startswith(n) for n in args.lessons)]
    with (
        open(args.to / "lab.log", "wb") as log,
        tempfile.TemporaryDirectory() as profile,
        tempfile.TemporaryDirectory() as own,
    ):
        os.environ["COURSE_COPY"] = own
        lab = started_lab(port, token, log)
        driver = browser(profile)
        try:
            driver.get(f"http://127.0.0.1:{port}/lab?token={token}&reset")
            for lesson in lessons:
                path = lesson.relative_to(ROOT).as_posix()
                time.sleep(3)
                print(driver.execute_async_script(OPEN, path), path, flush=True)
                before = time.monotonic()
                state = run_all(driver)
                cells = driver.execute_script(READ)
                found = problems(cells) + ([] if state == "ran" else [state])
                seconds = time.monotonic() - before
                print(
                    f"  {len(cells)} code cells in {seconds:.0f} s: {found or 'fine'}"
                )
                figures, stuck = moved_sliders(driver)
                if figures:
                    print(f"  {figures} interactive figures: {stuck or 'follow'}")
                failed |= bool(found or stuck)
                shots(driver, args.to, lesson.stem)
        finally:
            driver.quit()
            lab.terminate()
            lab.wait()
    return int(failed)


if __name__ == "__main__":
    os.environ.setdefault("COURSE_PROFILE", "offline")
    assert re.match(r"3\.1[1-3]", sys.version), "run this in the course's environment"
    sys.exit(main())
