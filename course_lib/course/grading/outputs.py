"""What is kept of the outputs of a cell: text and pictures, bounded, in a fixed order.

HTML, JavaScript, widgets and all other kinds are dropped.
"""

import base64
import re
import struct
from dataclasses import dataclass, field

MAX_PICTURE = 2_000_000  # bytes of a PNG file
MAX_PIXELS = 30_000_000
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
CUT = "\n[...]"
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,16}\b")  # differs from run to run


@dataclass
class Room:
    """What the cells of a notebook may still put into it, together."""

    chars: int = 400_000
    pictures: int = 24
    picture_bytes: int = 12_000_000  # of their base64
    notices: set[str] = field(default_factory=set)


class Kept:
    """Outputs of one cell as nbformat has them, in ``outputs``.

    Standard output stands before standard error between two displays: which of the two
    arrives first differs from run to run.  chars: of each stream, and of all displayed
    texts.  pictures: of the cell.  room: of the notebook.  What is cut says so.
    """

    def __init__(self, chars: int, pictures: int, room: Room):
        self.outputs, self.room = [], room
        self.left = dict.fromkeys(("stdout", "stderr", "display"), chars)
        self.pictures = pictures

    def take(self, message: dict) -> bool:
        """Keep what may be kept of a message; True when it says that all is done."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status":
            return content.get("execution_state") == "idle"
        if kind == "stream":
            name = "stderr" if content.get("name") == "stderr" else "stdout"
            self._stream(name, content.get("text"))
        elif kind in ("execute_result", "display_data"):
            data = content.get("data", {})
            picture = data.get("image/png")
            if not (isinstance(picture, str) and self._picture(picture)):
                self._display(data.get("text/plain"))
        elif kind == "error":
            lines = content.get("traceback", [])
            if isinstance(lines, list):
                lines = "\n".join(str(line)[:2000] for line in lines[-30:])
                self._stream("stderr", lines)
        return False

    def _cut(self, text, kind: str) -> str:
        """Plain text, no longer than what is left; "" when there is none to keep."""
        if not isinstance(text, str) or not text or self.left[kind] <= 0:
            return ""
        most = max(min(self.left[kind], self.room.chars), 0)
        whole, text = len(text), plain_text(text[: 4 * most + 1000])
        is_cut = len(text) >= most or whole > 4 * most + 1000
        text = text[:most]
        self.left[kind] -= len(text)
        self.room.chars -= len(text)
        if is_cut:
            self.left[kind] = 0
            self.room.notices.add("flood: text beyond the limit was cut")
            text += CUT
        return text

    def _stream(self, name: str, text) -> None:
        text = self._cut(text, name)
        if not text:
            return
        at = len(self.outputs)
        while at and self.outputs[at - 1]["output_type"] == "stream":
            at -= 1
        for output in self.outputs[at:]:
            if output["name"] == name:
                output["text"] += text
                return
        place = at if name == "stdout" else len(self.outputs)
        made = {"output_type": "stream", "name": name, "text": text}
        self.outputs.insert(place, made)

    def _display(self, text) -> None:
        text = self._cut(text, "display")
        if text:
            self._add({"text/plain": ADDRESS.sub("at 0x...", text)})

    def _picture(self, content: str) -> bool:
        if not is_png(content):
            return False
        content = "".join(content.split())
        room = self.room
        if not self.pictures or not room.pictures or room.picture_bytes < len(content):
            room.notices.add("flood: pictures beyond the limit were left out")
            return False
        self.pictures -= 1
        room.pictures -= 1
        room.picture_bytes -= len(content)
        self._add({"image/png": content})
        return True

    def _add(self, data: dict) -> None:
        made = {"output_type": "display_data", "metadata": {}, "data": data}
        self.outputs.append(made)

    def finished(self) -> list[dict]:
        """The outputs, when no more come."""
        for output in self.outputs:
            if output["output_type"] == "stream":
                output["text"] = ADDRESS.sub("at 0x...", output["text"])
        return self.outputs


def plain_text(text: str) -> str:
    """Text without terminal codes and control characters."""
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in text if c >= " " or c in "\n\t")


def is_png(text: str) -> bool:
    """Is this base64 of a PNG file of at most MAX_PICTURE bytes and MAX_PIXELS?"""
    if len(text) > 2 * MAX_PICTURE:
        return False
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    if not content.startswith(PNG) or not 33 <= len(content) <= MAX_PICTURE:
        return False
    width, height = struct.unpack(">II", content[16:24])
    return 0 < width * height <= MAX_PIXELS  # a browser unpacks them all
