"""Run the steps of the image, Binder's and the dev container's files without Docker.

    debootstrap --variant=minbase --include=git,make,ca-certificates bookworm ROOT
    course release --to learners
    python tools/container_steps.py jupyterhub ROOT --python PREFIX --course learners
    python tools/container_steps.py binder ROOT --python PREFIX --course CLONE
    python tools/container_steps.py devcontainer ROOT --python PREFIX --course CLONE

ROOT is a folder that holds a bare Debian, PREFIX the Python to put into its /usr/local
(3.12, as the files ask), CLONE a fresh clone.  Run it as root: each step runs by
`chroot` as the user that the file names.  Taken from the files: the Dockerfile's
ARG, ENV, COPY, WORKDIR, USER, RUN and CMD; Binder's Python and postBuild; the dev
container's two commands.  Then the server is started and has to answer.  Images differ
from such a folder in what their base brings, and no layer is stored.  Prints each
step's seconds; exits with 1 at the first that fails.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
IMAGE = HERE / "deploy/jupyterhub/Dockerfile"
PORT = 8893


class Folder:
    """A bare system in a folder, and what the steps have set so far."""

    def __init__(self, root: Path):
        self.root, self.user, self.where = root, "root", "/"
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}

    def inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def command(self, text: str) -> list[str]:
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        env = {"HOME": home, **self.env}
        said = [f"{name}={value}" for name, value in env.items()]
        script = f"cd {shlex.quote(self.where)} && {text}"
        user = f"--userspec={self.user}:{self.user}"
        return ["chroot", user, self.root, "env", "-i", *said, "sh", "-c", script]

    def run(self, text: str) -> None:
        """One step; ends the program where it fails."""
        start = time.time()
        done = subprocess.run(self.command(text), stdin=subprocess.DEVNULL)
        short = re.sub(r"\s+", " ", text)[:70]
        print(f"{time.time() - start:6.0f} s  as {self.user}: {short}", flush=True)
        if done.returncode:
            sys.exit(f"This step failed with status {done.returncode}.")

    def starts(self, text: str) -> None:
        """Start the server, and wait until it answers."""
        start = time.time()
        server = subprocess.Popen(self.command(text), start_new_session=True)
        while not answers(f"http://127.0.0.1:{PORT}/api"):
            if server.poll() is not None or time.time() - start > 120:
                sys.exit("The server did not answer within two minutes.")
            time.sleep(1)
        os.killpg(server.pid, 15)
        print(f"{time.time() - start:6.0f} s  the server answered", flush=True)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return "version" in json.load(reply)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def instructions(text: str) -> list[tuple[str, str]]:
    """[(instruction, its argument)] of a Dockerfile without build stages."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(x.split(maxsplit=1)) for x in joined.splitlines() if x.strip()]


def python_is(folder: Folder, wanted: str) -> None:
    said = subprocess.run(folder.command("python --version"), capture_output=True)
    if wanted not in said.stdout.decode():
        sys.exit(f"The file asks for Python {wanted}, the folder has {said.stdout!r}.")


def jupyterhub(folder: Folder, course: Path) -> None:
    for word, rest in instructions(IMAGE.read_text()):
        if word == "FROM":
            python_is(folder, re.search(r"python:([\d.]+)", rest).group(1))
        elif word in ("ARG", "ENV"):
            folder.env.update(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "COPY":
            source, target = rest.split()
            shutil.copytree(course / source, folder.inside(target))
        elif word == "WORKDIR":
            folder.where = rest
            folder.inside(rest).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            folder.user = rest
            folder.env["HOME"] = "/srv/learner"
        elif word == "RUN":
            folder.run(rest)
        elif word == "CMD":  # as a hub starts it, but for the hub
            folder.env["COURSE_SERVER"] = "jupyter-lab"
            folder.starts(f"{json.loads(rest)[0]} --no-browser --port {PORT}")


def as_new_user(folder: Folder, name: str, course: Path) -> None:
    """A user of this name, with the course in the home folder."""
    folder.run(f"useradd --create-home {name}")
    shutil.copytree(course, folder.inside(f"/home/{name}/course"))
    folder.run(f"chown -R {name}:{name} /home/{name}")
    folder.user, folder.where = name, f"/home/{name}/course"


def binder(folder: Folder, course: Path) -> None:
    wanted = (HERE / ".binder/runtime.txt").read_text().strip().removeprefix("python-")
    python_is(folder, wanted)
    as_new_user(folder, "jovyan", course)
    folder.run("python -m venv ../env")
    folder.env["PATH"] = f"{folder.where}/../env/bin:{folder.env['PATH']}"
    folder.run("bash .binder/postBuild")
    folder.starts(f"jupyter-lab --no-browser --port {PORT}")


def devcontainer(folder: Folder, course: Path) -> None:
    said = json.loads((HERE / ".devcontainer/devcontainer.json").read_text())
    python_is(folder, re.search(r"python:([\d.]+)", said["image"]).group(1))
    as_new_user(folder, "vscode", course)
    folder.env.update(said["containerEnv"])
    folder.run(said["postCreateCommand"])
    folder.run(said["postAttachCommand"])
    folder.starts(f".venv/bin/course lab --no-browser --ip=0.0.0.0 --port {PORT}")


def main() -> None:
    places = {"jupyterhub": jupyterhub, "binder": binder, "devcontainer": devcontainer}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("place", choices=places)
    parser.add_argument("root", type=Path)
    parser.add_argument("--python", type=Path, required=True, help="a prefix")
    parser.add_argument("--course", type=Path, required=True, help="what is installed")
    chosen = parser.parse_args()
    folder = Folder(chosen.root.resolve())
    if not folder.inside("/usr/local/bin/python").exists():
        shutil.copytree(
            chosen.python,
            folder.inside("/usr/local"),
            symlinks=True,
            dirs_exist_ok=True,
        )
        folder.inside("/usr/local/bin/python").unlink(missing_ok=True)
        folder.inside("/usr/local/bin/python").symlink_to("python3")
        folder.run("ldconfig")
    shutil.copy("/etc/resolv.conf", folder.inside("/etc/resolv.conf"))
    places[chosen.place](folder, chosen.course.resolve())


if __name__ == "__main__":
    main()
