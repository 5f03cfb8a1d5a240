"""Contact sheets: the pages of samples that stand in the data cards.

``python -m course_lib.datasets.cards`` writes data/cards/*.png again (Pillow's PNG
compression may differ between versions, so these pictures are not in the manifest).
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from course_lib import files, paths
from course_lib.datasets.catalogue import load
from course_lib.datasets.committed import RENDERERS
from course_lib.datasets.images import ImageDataset

GAP = 3
LABEL_WIDTH = 84


def contact_sheet(dataset: ImageDataset, per_class: int = 12, zoom: int = 1):
    """A Pillow image: one row a class, its name on the left, ``per_class`` pictures."""
    side = dataset.images.shape[1] * zoom
    width = LABEL_WIDTH + per_class * (side + GAP)
    height = len(dataset.classes) * (side + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for row, name in enumerate(dataset.classes):
        top = GAP + row * (side + GAP)
        draw.text((6, top + side // 2 - 8), name, fill="black", font=font)
        members = np.flatnonzero(dataset.labels == row)[:per_class]
        for column, index in enumerate(members):
            picture = Image.fromarray(dataset.images[index])
            picture = picture.resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (LABEL_WIDTH + column * (side + GAP), top))
    return sheet


def write_contact_sheets() -> list:
    """data/cards/NAME.png for each rendered set, from its training split."""
    written = []
    for name in RENDERERS:
        sheet = contact_sheet(load(name, "train"))
        sheet = sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        content = io.BytesIO()
        sheet.save(content, "PNG", optimize=True)
        path = paths.DATA / "cards" / f"{name}.png"
        written.append(files.atomic_write_bytes(path, content.getvalue()))
    return written


if __name__ == "__main__":
    for path in write_contact_sheets():
        print(f"{path.name}: {path.stat().st_size:,} bytes")
