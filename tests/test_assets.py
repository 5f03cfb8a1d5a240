"""Public weights and data: fetched by name, compared, stored whole, read offline."""

import hashlib
import http.server
import io
import threading
import zipfile

import pytest
import requests

from course_lib import assets, files, paths
from course_lib.course import cli
from course_lib.errors import CourseError

ROW = """\
[toy]
title = "a toy set"
package = "toy-data"
version = "1.0"
archive = "toy_data-1.0-py3-none-any.whl"
sha256 = "{sha256}"
bytes = {size}
prepare = "keep"
licence = "MIT"
citation = "nobody"
[toy.files]
"toy_data/a.txt" = "{a}"
"toy_data/more/*.txt" = "{more}"
[toy.second]
url = "{second}"
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


A, B, C = b"first\n" * 20_000, b"second\n", b"third\n"
WHEEL = zipped(
    {
        "toy_data/a.txt": A,
        "toy_data/more/b.txt": B,
        "toy_data/more/c.txt": C,
        "toy_data/__init__.py": b"raise SystemExit('executed')\n",
    }
)
REPOSITORY = zipped(
    {
        "toy-main/src/toy_data/a.txt": A,
        "toy-main/src/toy_data/more/b.txt": B,
        "toy-main/src/toy_data/more/c.txt": C,
    }
)
FILE = "toy_data-1.0-py3-none-any.whl"


class Handler(http.server.BaseHTTPRequestHandler):
    """A package index and a second source, on this machine alone."""

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        content = server.pages.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        kind = "text/html" if self.path.endswith("/") else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        sent = content[start:]
        if self.path in server.cut:  # the line breaks in the middle, once
            server.cut.discard(self.path)
            sent = sent[: len(sent) // 2]
        self.wfile.write(sent)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server whose pages a test may change, and an empty place for assets."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = f"http://127.0.0.1:{server.server_port}"
    link = f'<a href="{host}/files/{FILE}#sha256={sha256(WHEEL)}">{FILE}</a>'
    server.pages = {
        "/simple/toy-data/": f"<html><body>{link}</body></html>".encode(),
        f"/files/{FILE}": WHEEL,
        "/second.zip": REPOSITORY,
    }
    server.asked, server.cut = [], set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listed = tmp_path / "assets.toml"
    text = ROW.format(
        sha256=sha256(WHEEL), size=len(WHEEL), a=sha256(A), more=sha256(B + C),
        second=f"{host}/second.zip",
    )  # fmt: skip
    listed.write_text(text, encoding="utf-8")
    monkeypatch.setattr(assets, "LIST", listed)
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path / "kept"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{host}/simple/")
    yield server
    server.shutdown()
    server.server_close()


def fetched():
    return dict(assets.fetch())


def leftovers():
    return sorted(p.name for p in paths.ASSETS.glob(".toy*") if p.suffix != ".lock")


def test_an_asset_is_fetched_once_and_nothing_of_it_is_executed(served):
    assert assets.problem("toy") == "it has not been fetched"
    assert fetched() == {"toy": "fetched"}
    folder = assets.folder("toy")
    assert (folder / "a.txt").read_bytes() == A
    assert sorted(p.name for p in folder.iterdir()) == [
        "a.txt", "asset.json", "b.txt", "c.txt",
    ]  # fmt: skip
    asked = len(served.asked)
    assert fetched() == {"toy": "is there already"}
    assert len(served.asked) == asked  # no network for what is there


def test_a_firm_s_own_certificate_is_trusted_as_pip_trusts_it(served, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CERT", "/firm/root.pem")
    trusted, send = [], requests.Session.send

    def watched(session, request, **how):
        trusted.append(how["verify"])
        return send(session, request, **how)

    monkeypatch.setattr(requests.Session, "send", watched)
    assert fetched() == {"toy": "fetched"}
    assert trusted == ["/firm/root.pem"] * 2  # the index, and the archive


def test_what_has_not_been_fetched_says_which_command_brings_it(served):
    with pytest.raises(CourseError, match="course data fetch toy"):
        assets.folder("toy")
    with pytest.raises(CourseError, match="Expected: one of toy"):
        assets.folder("other")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "record", "older"])
def test_a_damaged_asset_is_refused_and_fetched_again(served, damage):
    fetched()
    file = assets.place("toy") / "a.txt"
    if damage == "flip":
        file.write_bytes(b"F" + A[1:])
    elif damage == "cut":
        file.write_bytes(A[:-1])
    elif damage == "remove":
        file.unlink()
    elif damage == "record":
        (assets.place("toy") / assets.RECORD).write_text("[]", encoding="utf-8")
    else:
        record = files.read_json(assets.place("toy") / assets.RECORD)
        record["sha256"] = "0" * 64
        files.atomic_write_json(assets.place("toy") / assets.RECORD, record)
    with pytest.raises(CourseError, match="course data fetch toy"):
        assets.folder("toy")
    assert fetched() == {"toy": "fetched"}
    assert assets.folder("toy").joinpath("a.txt").read_bytes() == A


def test_an_interrupted_download_goes_on_where_it_ended(served):
    served.cut.add(f"/files/{FILE}")
    del served.pages["/second.zip"]
    with pytest.raises(CourseError, match="it goes on where it ended"):
        fetched()
    (part,) = leftovers()
    size = (paths.ASSETS / part).stat().st_size
    assert 0 < size < len(WHEEL)
    assert fetched() == {"toy": "fetched"}
    assert served.asked[-1] == (f"/files/{FILE}", f"bytes={size}-")
    assert leftovers() == []


@pytest.mark.parametrize("trouble", ["project", "file", "bytes", "index"])
def test_the_second_source_steps_in_with_the_same_bytes(served, trouble, monkeypatch):
    if trouble == "project":
        del served.pages["/simple/toy-data/"]
    elif trouble == "file":
        served.pages["/simple/toy-data/"] = b"<html><body></body></html>"
    elif trouble == "bytes":
        served.pages[f"/files/{FILE}"] = WHEEL[:-1] + b"x"
    else:
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    assert fetched() == {"toy": "fetched from its second source"}
    assert assets.folder("toy").joinpath("a.txt").read_bytes() == A
    assert leftovers() == []


@pytest.mark.parametrize("other", [b"", b"no archive", zipped({"toy_data/a.txt": B})])
def test_other_bytes_of_the_second_source_are_refused(served, other):
    del served.pages["/simple/toy-data/"]
    served.pages["/second.zip"] = other
    with pytest.raises(CourseError) as told:
        fetched()
    for word in ("second source", "Expected:", "Do:", "course data fetch toy"):
        assert word in str(told.value)
    assert assets.problem("toy") == "it has not been fetched"


def test_nothing_half_written_stays_when_storing_fails(served, monkeypatch):
    def full(asset, contents, work):
        (work / "half.txt").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assets, "keep", full)
    with pytest.raises(CourseError, match="No space left on device"):
        fetched()
    assert not assets.place("toy").exists()
    monkeypatch.undo()


def test_the_commands_say_what_is_here(served, capsys):
    assert cli.main(["data", "list"]) == 0
    assert "toy-data 1.0" in capsys.readouterr().out
    assert cli.main(["data", "fetch"]) == 0
    assert "toy: fetched" in capsys.readouterr().out
    assert cli.main(["data", "fetch", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["data", "verify"]) == 0
    (assets.place("toy") / "b.txt").write_bytes(b"SECOND\n")
    assert cli.main(["data", "verify"]) == 1
    assert "`course data fetch toy`" in capsys.readouterr().err


def test_every_listed_asset_states_what_is_needed():
    rows = assets.known()
    assert len(rows) >= 7
    for asset in rows.values():
        assert asset.prepare in assets.PREPARE
        assert len(asset.sha256) == 64 and asset.bytes > 10**6
        assert all(len(digest) == 64 for digest in asset.files.values())
        assert asset.licence and asset.citation and asset.second["url"]


@pytest.mark.slow
def test_the_fetched_assets_are_whole():
    wrong = {name: assets.problem(name) for name in assets.known()}
    assert not {k: v for k, v in wrong.items() if v}, "course data fetch brings them"
