#!/usr/bin/env bash
# Pillow 13.0.0 (written by tifffile 2026.3.3): a grey TIFF of unsigned 32-bit integers
# opens in mode "I", whose numbers are signed, and every value of 2**31 and more comes
# back negative, without a warning.  The brightest pixels of a summed exposure become the
# darkest; a scale from the smallest to the largest value is wrong for all pixels.
#
# Seen on 2026-11-29: 0 and 3,000,000,000 are read as 0 and -1,294,967,296 (int32).
# Source: own observation; the file states SampleFormat 1, unsigned.
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

stream = io.BytesIO()
tifffile.imwrite(stream, np.array([[0, 3_000_000_000]], dtype=np.uint32))
stream.seek(0)
image = Image.open(stream)
array = np.asarray(image)
print(image.mode, array.dtype, array.tolist())
assert (image.mode, array.dtype.name) == ("I", "int32"), "the behaviour changed"
assert array.tolist() == [[0, -1_294_967_296]], "the behaviour changed"
PY
