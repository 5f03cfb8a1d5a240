#!/usr/bin/env bash
# Pillow 13.0.0 (written by tifffile 2026.3.3): a TIFF with 16 bits a channel whose
# colours are stored in planes (PlanarConfiguration 2, as scanners and scientific
# cameras write it) opens without a warning as an 8-bit RGB picture of the LOW bytes of
# each value.  The same pixels stored side by side give the high bytes, as one expects.
# A dark red of 1000 becomes 232 of 255, brighter than a blue of 60000, which becomes 96.
#
# Seen on 2026-11-29:
#   side by side  RGB [3, 78, 234]
#   in planes     RGB [232, 32, 96]
# Source: own observation while reading microscopy files; TIFF 6.0, section on
# PlanarConfiguration, allows both.
set -euo pipefail
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
python3 -m venv "$where/env"
"$where/env/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$where/env/bin/python" - <<'PY'
import io

import numpy as np
import tifffile
from PIL import Image

values = (1000, 20_000, 60_000)
pixels = np.stack([np.full((4, 4), v, np.uint16) for v in values], axis=-1)
seen = {}
for how, array in (("contig", pixels), ("separate", np.moveaxis(pixels, -1, 0))):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric="rgb", planarconfig=how)
    stream.seek(0)
    image = Image.open(stream)
    seen[how] = image.mode, np.asarray(image)[0, 0].tolist()
    print(how, *seen[how])
assert seen["contig"] == ("RGB", [v >> 8 for v in values])
assert seen["separate"] == ("RGB", [v & 255 for v in values]), "the behaviour changed"
PY
