"""Create or reuse the course's environment: the folder .venv beside the Makefile.

`make` runs this before everything else.  It needs nothing but a Python, and is
written for old ones too (3.8), so that these can still say what is wrong.

    python3 tools/setup_env.py [--python NAME] [--extras test,instructor] [--rebuild]
        [--torch auto]

A second call finds a stamp, written when all was installed, and returns at once.
The stamp names what was installed (pyproject.toml, constraints.txt, the extras) and
for which Python.  A call that was interrupted leaves no stamp; the next one carries
on.  Extras that are installed already stay when the next call names fewer.

On Linux the package index has PyTorch for NVIDIA's GPUs only, with 1.8 GB of NVIDIA's
libraries.  With --torch auto a machine without such a GPU gets PyTorch's own build for
CPUs of the same version, where it can be reached, else the index's.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "course-stamp.json"
IN_PROGRESS = VENV / "course-installing"
LOG = VENV / "course-install-errors.log"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
VENV_PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")

OLDEST, NEWEST = (3, 11), (3, 13)
GIGABYTE = 1e9
LINUX_DISK_GB, OTHER_DISK_GB = 10.0, 4.0  # with room for pip's downloads
DISK_GB = LINUX_DISK_GB if sys.platform == "linux" else OTHER_DISK_GB
LINUX_NOTE = "On Linux, PyTorch brings NVIDIA's libraries along, used or not."
UV = "uv==0.13.9"  # an installer that finds PyTorch's builds for CPUs
NVIDIA_SIGNS = ("/proc/driver/nvidia/version", "/dev/dxg")  # a driver; a GPU in WSL

IMPORT_CHECK = "import torch, torchvision, timm, transformers, jupyterlab, course_lib"


class SetupError(Exception):
    """What went wrong and what to do, for the reader's eyes."""


def say(text):
    print(text, flush=True)


# -- which Python ---------------------------------------------------------------


def version_of(command):
    """(major, minor, micro) of a Python command; None when it does not run."""
    code = "import sys; print(*sys.version_info[:3])"
    try:
        answer = subprocess.run(
            [str(command), "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=30,
        )
        return tuple(int(part) for part in answer.stdout.split()[:3]) or None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def supported(version):
    return version is not None and OLDEST <= tuple(version[:2]) <= NEWEST


def dotted(version):
    return ".".join(str(part) for part in version)


def candidates(name):
    """Commands that may be the Python of this name, the most likely first.

    pyenv puts a `python3.13` on the PATH that only complains when 3.13 is
    installed but not selected; the real one is looked up in its folder.
    """
    found = shutil.which(name)
    if found:
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for installed in sorted((pyenv / "versions").glob("*/bin/" + Path(name).name)):
        yield str(installed)


def requested_python(name):
    """The Python that the reader asked for by name, and its version."""
    for command in candidates(name):
        version = version_of(command)
        if supported(version):
            return command, version
        if version is not None:
            raise SetupError(
                "%s is Python %s.\n"
                "Expected: Python 3.11, 3.12 or 3.13.\n"
                "Do: name one of these, for example `make lab PYTHON=python3.13`."
                % (name, dotted(version))
            )
    raise SetupError(
        "No Python called %s was found, or it does not run.\n"
        "Expected: the name or path of a Python 3.11, 3.12 or 3.13.\n"
        "Do: correct PYTHON=..., or leave it out." % name
    )


def any_python():
    """This Python when it will do, otherwise another on the PATH, and its version."""
    if supported(sys.version_info):
        return sys.executable, tuple(sys.version_info[:3])
    for name in ("python3.13", "python3.12", "python3.11"):
        for command in candidates(name):
            version = version_of(command)
            if supported(version):
                say("python3 is %s; using %s instead." % (this_python(), command))
                return command, version
    raise SetupError(
        "This Python is %s, and no other was found on the PATH.\n"
        "Expected: Python 3.11, 3.12 or 3.13.\n"
        "Do: install one of these (python.org, your system's packages, pyenv or "
        "conda),\n    then type the same command again." % this_python()
    )


def this_python():
    return dotted(sys.version_info[:3])


def check_platform():
    """Raise SetupError on a machine for which PyTorch is no longer built."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise SetupError(
            "This is an Intel Mac, or a Python built for one.\n"
            "Expected: macOS on Apple silicon with an arm64 Python; PyTorch is no "
            "longer built for Intel Macs.\n"
            "Do: install an arm64 Python, or use Linux (also in a container)."
        )


# -- is the environment as it should be? ---------------------------------------


def wanted():
    """A digest of everything that decides what gets installed."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def venv_version():
    """The Python version of .venv as its own file states it; None when broken."""
    try:
        text = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
        found = re.search(r"^version\s*=\s*([\d.]+)", text, re.MULTILINE)
        if found and VENV_PYTHON.exists():  # False too for a dangling link
            return tuple(int(part) for part in found.group(1).split(".")[:3])
    except (OSError, ValueError):
        pass
    return None


def read_stamp():
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def installed_extras():
    """Extras that an earlier call has installed, as far as its stamp tells."""
    found = read_stamp().get("extras", [])
    return set(found) if isinstance(found, list) else set()


def is_ready(version, extras=()):
    """Was all of it installed here, for this Python (None: for any supported one)?"""
    present = venv_version()
    if not supported(present) or (version and present[:2] != version[:2]):
        return False
    stamp, found = stamp_of(installed_extras()), read_stamp()
    return found == stamp and set(extras) <= installed_extras()


def stamp_of(extras):
    return {
        "wanted": wanted(),
        "folder": str(VENV),
        "python": dotted(venv_version()),
        "extras": sorted(extras),
    }


def write_stamp(extras=(), installed=None):
    """Note what was installed: ``installed``, else what the files ask for now."""
    stamp = stamp_of(extras)
    stamp["wanted"] = installed or stamp["wanted"]
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    os.replace(str(part), str(STAMP))


# -- building it ----------------------------------------------------------------


def folder_bytes(folder):
    total = 0
    for at, _, names in os.walk(str(folder)):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_size
            except OSError:
                pass
    return total


def check_disk(gigabytes=DISK_GB):
    """Raise SetupError unless what is still to be installed will fit."""
    missing = gigabytes * GIGABYTE - (folder_bytes(VENV) if VENV.exists() else 0)
    free = shutil.disk_usage(str(ROOT)).free
    if free < missing:
        raise SetupError(disk_message(free, missing))


def disk_message(free, missing):
    large = sys.platform == "linux" and missing > OTHER_DISK_GB * GIGABYTE
    note = " " + LINUX_NOTE if large else ""
    return (
        "The disk is too full: %.1f GB are free where the course lies (%s).\n"
        "Expected: %.1f GB more for the installation.%s\n"
        "Do: free some space (`pip cache purge` often frees gigabytes), or move the "
        "course\n    to a larger disk, then type the same command again."
        % (free / GIGABYTE, ROOT, max(missing, GIGABYTE) / GIGABYTE, note)
    )


def create_venv(command, version):
    say("Creating .venv with Python %s ..." % dotted(version))
    made = subprocess.run(
        [command, "-m", "venv", "--clear", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    if made.returncode == 0:
        return
    shutil.rmtree(str(VENV), ignore_errors=True)
    last = (made.stdout or "").strip()
    if no_space_in(last):
        raise SetupError(disk_message(shutil.disk_usage(str(ROOT)).free, GIGABYTE))
    if "ensurepip" in last or "No module named venv" in last:
        raise SetupError(
            "%s cannot create environments: its venv module is missing.\n"
            "Expected: a complete Python; Debian and Ubuntu ship this part apart.\n"
            "Do: sudo apt install python%d.%d-venv\n"
            "    then type the same command again." % ((command,) + version[:2])
        )
    raise SetupError(
        "%s -m venv failed:\n%s\n"
        "Expected: a new environment in .venv.\n"
        "Do: try another Python with PYTHON=python3.12." % (command, last[-800:])
    )


def remove_half_installed():
    """Make pip forget packages that an interrupted call left half-written.

    pip writes a package's RECORD last, yet believes any .dist-info it meets.
    """
    for info in VENV.glob("[Ll]ib/**/site-packages/*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(str(info), ignore_errors=True)


def no_space_in(text):
    return "No space left" in text or "Errno 28" in text or "not enough space" in text


def gpu_of_nvidia():
    """Is there one that PyTorch could use, as far as files tell?"""
    return any(map(os.path.exists, NVIDIA_SIGNS)) or bool(shutil.which("nvidia-smi"))


def pinned(name):
    """`name==version` as constraints.txt has it; None when it has not."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(r"^%s==[^\s;]+" % re.escape(name), text, re.MULTILINE)
    return found and found.group()


def has_torch():
    """Is the pinned PyTorch installed, in whatever build?"""
    wanted = (pinned("torch") or "torch==?").replace("==", "-")
    found = VENV.glob("[Ll]ib/**/site-packages/torch-*.dist-info")
    names = {path.name[: -len(".dist-info")].split("+")[0] for path in found}
    return wanted in names


@contextlib.contextmanager
def scratch():
    """(folder, environment) for an installer, on the disk whose space was checked."""
    folder = VENV / "tmp"
    folder.mkdir(exist_ok=True)
    environment = dict(os.environ, TMPDIR=str(folder), PYTHONUNBUFFERED="1")
    environment.pop("PIP_REQUIRE_VIRTUALENV", None)
    try:
        yield folder, environment
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


def pip_command():
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--no-input"]
    return command + ["--disable-pip-version-check", "--retries", "2"]


def install_torch_for_cpus():
    """True when PyTorch's build for CPUs is installed afterwards, by uv."""
    with scratch() as (folder, environment):
        uv = [str(folder / "bin" / "uv"), "pip", "install", "--python"]
        uv += [str(VENV_PYTHON), "--torch-backend", "cpu", "--no-cache"]
        uv += ["-c", "constraints.txt", pinned("torch"), pinned("torchvision")]
        bring_uv = pip_command() + ["--quiet", "--target", str(folder), UV]
        environment["UV_HTTP_RETRIES"] = "1"
        try:
            for command in (bring_uv, uv):
                if subprocess.run(command, cwd=str(ROOT), env=environment).returncode:
                    return False
        except OSError:  # a disk that runs no programs
            return False
    return True


NETWORK_SIGNS = re.compile(
    r"NewConnectionError|NameResolution|getaddrinfo|Name or service not known"
    r"|[Nn]ame resolution|ConnectTimeout|ReadTimeout|[Tt]imed out|Connection refused"
    r"|Network is unreachable|ProxyError|Connection broken|ConnectionReset"
    r"|SSLError|CERTIFICATE|RemoteDisconnected|Max retries|Could not fetch URL"
)


def pip_message(errors):
    """Why pip failed, from what it wrote to stderr, and what to do about it."""
    if no_space_in(errors):
        return disk_message(shutil.disk_usage(str(ROOT)).free, GIGABYTE)
    if NETWORK_SIGNS.search(errors):
        return (
            "pip could not reach the package index.\n"
            "Expected: a network for this first installation (about 1 GB, 3 GB on "
            "Linux with\n    NVIDIA's libraries); afterwards the course needs none.\n"
            "Do: check the connection, or the proxy (HTTPS_PROXY, `pip config list`),\n"
            "    then type the same command again: it carries on where it stopped."
        )
    lines = [line for line in errors.splitlines() if line.startswith("ERROR")]
    reason = "\n".join(lines[-3:]) or errors.strip()[-600:] or "no reason given"
    return (
        "pip failed:\n%s\n"
        "Expected: all packages of constraints.txt installed.\n"
        "Do: type the same command again; if it fails again, start afresh with\n"
        "    `make clean` first. All of pip's errors: %s"
        % (reason, LOG.relative_to(ROOT))
    )


def pip_install(extras=()):
    """Install the course and its packages; SetupError with the reason otherwise.

    pip's progress goes straight to the terminal; its errors are shown and kept.
    """
    command = pip_command() + ["-c", "constraints.txt", "-e"]
    command += [".[%s]" % ",".join(sorted(extras)) if extras else "."]
    if not sys.stdout.isatty():
        command.append("--quiet")
    kept = []
    with scratch() as (_, environment):
        process = subprocess.Popen(
            command, cwd=str(ROOT), env=environment, stderr=subprocess.PIPE
        )

        def pass_on():
            for line in process.stderr:
                text = line.decode("utf-8", "replace")
                kept.append(text)
                sys.stderr.write(text)
                sys.stderr.flush()

        reader = threading.Thread(target=pass_on)
        reader.start()
        try:
            process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        finally:
            reader.join()
    if process.returncode != 0:
        try:
            LOG.write_text("".join(kept), encoding="utf-8")
        except OSError:
            pass  # a full disk: the message below says so
        raise SetupError(pip_message("".join(kept)))


def check_imports():
    """Raise SetupError when what was installed cannot be imported."""
    tried = subprocess.run(
        [str(VENV_PYTHON), "-c", IMPORT_CHECK],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    if tried.returncode != 0:
        last = (tried.stdout or "").strip().splitlines() or ["no reason given"]
        raise SetupError(
            "The packages are installed but cannot be imported:\n%s\n"
            "Expected: torch, transformers and JupyterLab to load.\n"
            "Do: start afresh: `make clean`, then the same command again." % last[-1]
        )


def build(command, version, extras=(), torch="index"):
    """Bring .venv to the wanted state: continue what is there, or make it new."""
    check_platform()
    for_cpus = torch == "auto" and sys.platform == "linux" and not gpu_of_nvidia()
    disk = OTHER_DISK_GB if for_cpus else DISK_GB
    extras = set(extras)
    present = venv_version()
    reusable = supported(present) and present[:2] == version[:2]
    reusable = reusable and version_of(VENV_PYTHON) is not None
    moved = read_stamp().get("folder", str(VENV)) != str(VENV)
    if not reusable or moved:
        if VENV.exists():
            say("Removing .venv: it is broken, moved, or for another Python.")
            shutil.rmtree(str(VENV))
        check_disk(disk)
        create_venv(command, version)
    else:
        check_disk(disk)
        extras |= installed_extras()
        if IN_PROGRESS.exists():
            say("Carrying on with an installation that was interrupted.")
            remove_half_installed()
    if STAMP.exists():
        STAMP.unlink()
    IN_PROGRESS.touch()
    asked = wanted()  # now: the files may change while pip reads and installs
    say("Installing some 180 packages into .venv: a few minutes, once.")
    if for_cpus and not has_torch() and not install_torch_for_cpus():
        say("PyTorch for CPUs could not be fetched; taking the package index's build.")
        say(LINUX_NOTE)
        check_disk()
    pip_install(extras)
    check_imports()
    IN_PROGRESS.unlink()
    if LOG.exists():
        LOG.unlink()
    write_stamp(extras, asked)
    say("The environment is ready.")


def locked():
    """Let one installation at a time work on .venv; waits for the other."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = open(str(ROOT / ".venv.lock"), "w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Waiting for another installation of the course to finish ...")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="name or path of the Python to use")
    parser.add_argument("--extras", default="test", help="test, or test,instructor")
    parser.add_argument("--rebuild", action="store_true", help="start from nothing")
    parser.add_argument(
        "--torch",
        choices=("index", "auto"),
        default="index",
        help="auto: PyTorch for CPUs where Linux has no NVIDIA GPU",
    )
    arguments = parser.parse_args()
    extras = {name.strip() for name in arguments.extras.split(",") if name.strip()}
    try:
        named = requested_python(arguments.python) if arguments.python else None
        if not arguments.rebuild and is_ready(named[1] if named else None, extras):
            return 0
        held = locked()
        if arguments.rebuild:
            shutil.rmtree(str(VENV), ignore_errors=True)
        elif is_ready(named[1] if named else None, extras):
            return 0  # another call has just finished it
        present = venv_version()
        if not named and supported(present) and version_of(VENV_PYTHON):
            named = (str(VENV_PYTHON), present)  # keep the Python of a good .venv
        build(*(named or any_python()), extras, arguments.torch)
        if held:
            held.close()
    except SetupError as error:
        sys.stderr.write("\nThe environment could not be made.\n%s\n" % error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command carries on from here.\n")
        return 130
    except OSError as error:
        if no_space_in(str(error)):
            error = disk_message(shutil.disk_usage(str(ROOT)).free, GIGABYTE)
        sys.stderr.write("\nThe environment could not be made.\n%s\n" % error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
