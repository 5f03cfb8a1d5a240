"""A backbone that went on learning without labels, as a folder: what a job hands on.

`zoo.load("pretrained")` reads it.  backbone.safetensors holds all weights below the
head, backbone.json which network they belong to and what they have seen.  The head is
not stored: nothing of it was trained along, and every task brings its own.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from course_lib import files
from course_lib.errors import CourseError
from course_lib.models.heads import inside

FORMAT = 1
FILE, WEIGHTS = "backbone.json", "backbone.safetensors"


def body(backbone) -> dict:
    """{name: tensor} of all weights and buffers below the head, on the CPU."""
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in backbone.model.state_dict().items()
        if not inside(name, backbone.heads)
    }


def origin(backbone) -> str:
    """The name of the network itself, without the weights that it went on to."""
    return backbone.card.get("continued", {}).get("model", backbone.name)


def save(backbone, folder: Path, about: dict) -> dict:
    """Write the weights, then the description, each whole or not at all.

    about: {"said": a sentence for reports, "licence"} and more; returns it with what
    `zoo.load` needs besides.
    """
    content = save_tensors(body(backbone))
    path = files.atomic_write_bytes(folder / WEIGHTS, content)
    about = {
        "format": FORMAT,
        "kind": "backbone",
        "model": origin(backbone),
        "sha256": files.sha256(path),
        **about,
    }
    files.atomic_write_json(folder / FILE, about, False)
    return about


def _inner(folder) -> Path:
    """The folder of the model in that of the whole job."""
    folder = Path(folder)
    return folder / "model" if (folder / "model").is_dir() else folder


def description(folder: str | Path) -> dict:
    """What backbone.json says, the weights compared with their sha256.

    Raises CourseError where a file is missing, damaged or of another version.
    """
    inner = _inner(folder)
    if not (inner / FILE).exists():
        raise CourseError(
            f"The folder {folder} holds no backbone.\nExpected: a folder with {FILE} "
            f"and {WEIGHTS}.\nDo: name the folder that `course pretrain --on` wrote; "
            "where it was interrupted, the same command ends it."
        )
    about = files.read_json(inner / FILE)
    try:
        known = about["format"] == FORMAT and {"model", "said", "licence"} <= set(about)
        sound = known and files.sha256(inner / WEIGHTS) == about["sha256"]
    except (KeyError, TypeError, OSError):
        sound = False
    if not sound:
        raise CourseError(
            f"{inner}: {FILE} or {WEIGHTS} is damaged or missing, or of another version"
            f" of the course.\nExpected: both as they were written (the sha256 is in "
            f"{FILE}).\nDo: copy the folder again, or run course pretrain again."
        )
    return about


def fill(backbone, folder: str | Path, about: dict) -> None:
    """Put the weights of a folder into its network, in place; the head stays random.

    The backbone gets the folder as its name, and what the weights have seen as a note.
    """
    inner = _inner(folder)
    try:
        state = load_tensors((inner / WEIGHTS).read_bytes())
        if set(state) != set(body(backbone)):
            raise ValueError
        backbone.model.load_state_dict(state, strict=False)
    except (SafetensorError, ValueError, RuntimeError):
        raise CourseError(
            f"{inner / WEIGHTS} does not hold the weights of {about['model']}.\n"
            "Expected: every tensor below its head, and no other.\nDo: run course "
            "pretrain again."
        ) from None
    backbone.name = str(Path(folder).resolve())
    seen = {"licence": about["licence"], "continued": about}
    backbone.card = {k: v for k, v in backbone.card.items() if k != "heads"} | seen
    backbone.notes = [*backbone.notes, about["said"]]
