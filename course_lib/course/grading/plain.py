"""Plain data between the grader and the sandbox: JSON text, arrays as `.npy` bytes.

Numbers, texts, lists, tuples, dictionaries with text keys, numpy arrays and torch
tensors.  Nothing that is decoded runs code,
and nothing decoded is larger than the text that it came from.
"""

import base64
import binascii
import io
import json
import math

from course_lib.errors import CourseError

MAX_BYTES = 8_000_000  # of the text
MAX_NODES = 100_000
MAX_DEPTH = 20
KINDS = "biuf"  # of numpy: no objects, no texts, no records
TENSORS = frozenset(
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
)


def encode(value) -> str:
    """The value as JSON text; CourseError when it is no plain data or too large."""
    text = json.dumps(_packed(value, 0), allow_nan=True)
    if len(text) > MAX_BYTES:
        raise CourseError(
            f"encode: {len(text):,} bytes, expected at most {MAX_BYTES:,}."
        )
    return text


def _packed(value, depth: int):
    import numpy as np

    if depth > MAX_DEPTH:
        raise CourseError(f"encode: nested deeper than {MAX_DEPTH}.")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    if type(value) in (list, tuple):
        items = [_packed(item, depth + 1) for item in value]
        return items if type(value) is list else {"kind": "tuple", "items": items}
    if isinstance(value, dict):
        items = [[str(k), _packed(v, depth + 1)] for k, v in value.items()]
        return {"kind": "dict", "items": items}
    if isinstance(value, np.ndarray):
        return {"kind": "array", "npy": _npy(value)}
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "numpy"):
        value = value.detach().cpu()
        is_half = str(value.dtype) in ("torch.bfloat16", "torch.float16")
        array = (value.float() if is_half else value).numpy()
        return {"kind": "tensor", "npy": _npy(array), "dtype": str(value.dtype)[6:]}
    raise CourseError(
        f"encode: a {type(value).__name__} is no plain data.\nExpected: numbers, "
        "texts, lists, dictionaries, arrays and tensors."
    )


def _npy(array) -> str:
    import numpy as np

    if array.nbytes > MAX_BYTES:
        raise CourseError(f"encode: an array of {array.nbytes:,} bytes is too large.")
    if array.dtype.kind not in KINDS:
        raise CourseError(f"encode: an array of {array.dtype} is no plain data.")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array).reshape(array.shape), False)
    return base64.b64encode(stream.getvalue()).decode()


def decode(text: str):
    """The value of a text from `encode`; the text may be hostile.

    Raises CourseError for anything else than what `encode` writes, for arrays whose
    header does not fit their bytes, and beyond MAX_BYTES, MAX_NODES or MAX_DEPTH.
    Items are counted before the text is parsed: two bytes of it become up to ninety.
    """
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        raise CourseError(f"decode: expected a text of at most {MAX_BYTES:,} bytes.")
    if sum(text.count(mark) for mark in ",[{") > 6 * MAX_NODES:
        raise CourseError("decode: too many items.")
    try:
        tree = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError):
        raise CourseError("decode: no valid JSON.") from None
    return _unpacked(tree, 0, [MAX_NODES])


def _integer(digits: str) -> int:
    if len(digits) > 30:
        raise ValueError("too many digits")
    return int(digits)


def _unpacked(tree, depth: int, left: list[int]):
    left[0] -= 1
    if depth > 3 * MAX_DEPTH or left[0] < 0:
        raise CourseError("decode: too deep, or too many items.")
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, list):
        return [_unpacked(item, depth + 1, left) for item in tree]
    kind, items = tree.get("kind"), tree.get("items")
    if kind == "tuple" and isinstance(items, list):
        return tuple(_unpacked(item, depth + 1, left) for item in items)
    if kind == "dict" and isinstance(items, list):
        if all(isinstance(i, list) and len(i) == 2 for i in items):
            if all(isinstance(key, str) for key, _ in items):
                return {key: _unpacked(v, depth + 1, left) for key, v in items}
    if kind == "array":
        return _array(tree.get("npy"))
    if kind == "tensor":
        import torch

        tensor, dtype = torch.from_numpy(_array(tree.get("npy"))), tree.get("dtype")
        if isinstance(dtype, str) and dtype in TENSORS:
            return tensor.to(getattr(torch, dtype))
    raise CourseError("decode: an unknown kind of value.")


def _array(text):
    """A `.npy` file whose header is checked against its length before it is read."""
    import numpy as np

    try:
        stream = io.BytesIO(base64.b64decode(text, validate=True))
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, 2000)
        count = math.prod(shape)
        content = stream.read()
        if dtype.kind not in KINDS or dtype.itemsize > 8 or len(shape) > 8:
            raise ValueError("dtype or shape")
        if min(shape, default=0) < 0 or count * dtype.itemsize != len(content):
            raise ValueError("length")
        if math.prod(max(n, 1) for n in shape) > MAX_BYTES:  # (0, 10**9): a sum over
            raise ValueError("shape")  # its first axis would have 10**9 entries
    except (ValueError, TypeError, KeyError, SyntaxError, binascii.Error):
        raise CourseError("decode: a damaged array.") from None
    except Exception as error:  # numpy parses the header with Python's own parser
        raise CourseError(
            f"decode: a damaged array ({type(error).__name__})."
        ) from None
    order = "F" if fortran else "C"
    array = np.frombuffer(content, dtype, count).reshape(shape, order=order)
    return array.astype(dtype.newbyteorder("="), order="C")
