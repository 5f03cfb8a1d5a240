"""Plain data between grader and sandbox: what comes back, and what is refused."""

import base64
import io
import json

import numpy as np
import pytest
import torch

from course_lib.course.grading import checks, plain
from course_lib.errors import CourseError


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2.5,
        "text with ' and \" and \n",
        [1, [2.0, None]],
        (1, (2, "x")),
        {"a": [1], "kind": "tuple"},
        {},
    ],
)
def test_values_come_back_as_they_were(value):
    found = plain.decode(plain.encode(value))
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int64", "int8", "bool", ">f4"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4)])
def test_arrays_come_back(dtype, shape):
    value = np.asarray(np.random.default_rng(0).random(shape) * 9).astype(dtype)
    found = plain.decode(plain.encode(value))
    assert isinstance(found, np.ndarray) and found.shape == shape
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(found, value)
    turned = value.copy(order="F")
    assert np.array_equal(plain.decode(plain.encode(turned)), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tensors_come_back(dtype):
    value = torch.arange(6).view(2, 3).to(dtype).requires_grad_(dtype.is_floating_point)
    found = plain.decode(plain.encode({"x": value}))["x"]
    assert found.dtype == dtype and torch.equal(found, value)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", lambda: 0, np.array([None]), np.array(["a"])]
)
def test_only_plain_data_is_encoded(value):
    with pytest.raises(CourseError):
        plain.encode(value)


def test_large_and_deep_values_are_refused():
    deep = []
    for _ in range(50):
        deep = [deep]
    for value in (np.zeros(3_000_000), "x" * 9_000_000, deep):
        with pytest.raises(CourseError):
            plain.encode(value)


def npy(shape="(2,)", descr="'<f4'", content=bytes(8), magic=b"\x93NUMPY\x01\x00"):
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"
    content = magic + len(head).to_bytes(2, "little") + head.encode() + content
    return json.dumps({"kind": "array", "npy": base64.b64encode(content).decode()})


def tensor(dtype):
    return json.dumps(json.loads(npy()) | {"kind": "tensor", "dtype": dtype})


def test_the_hand_made_arrays_are_sound():
    assert np.array_equal(plain.decode(npy()), np.zeros(2, "float32"))
    assert torch.equal(plain.decode(tensor("int8")), torch.zeros(2, dtype=torch.int8))


@pytest.mark.parametrize(
    "text",
    [
        npy(shape="(10**12,)"),
        npy(shape="(1000000000000,)"),
        npy(shape="(-1,)"),
        npy(shape="(0, 1000000000)", content=b""),
        npy(shape="(1000000000, 0)", content=b""),
        npy(shape="(100000, 0, 100000)", content=b""),
        npy(shape="(2, -1, -1)"),
        npy(descr="'|O'"),
        npy(descr="[('a', '<f4')]"),
        npy(descr="'<U100'"),
        npy(descr="'<c16'", content=bytes(32)),
        npy(magic=b"\x93NUMPY\x03\x00"),
        npy(descr="__import__('os').getcwd()"),
        npy(shape="(" * 500 + ")" * 500),
        '{"kind": "array", "npy": "!!!"}',
        '{"kind": "array", "npy": 3}',
        '{"kind": "array"}',
        '{"kind": "tensor", "npy": "", "dtype": "load"}',
        tensor("complex64"),
        tensor("qint8"),
        tensor("Tensor"),
        tensor(["float32"]),
        '{"kind": "dict", "items": [[1, 2]]}',
        '{"kind": "dict", "items": [1]}',
        '{"kind": "eval", "items": []}',
        "{}",
        "[" * 100_000,
        "[" * 70 + "]" * 70,
        "[" + "0," * 200_000 + "0]",
        "[" + "[]," * 2_000_000 + "[]]",
        '{"kind": "dict", "items": [' + '["", []],' * 700_000 + '["", 0]]}',
        "9" * 5000,
        "nothing",
        "",
        "x" * 9_000_000,
        None,
    ],
)
def test_hostile_texts_are_refused(text):
    with pytest.raises(CourseError):
        plain.decode(text)


def test_nothing_is_larger_than_its_text():
    """Not even an array without entries, whose sums would be."""
    for shape, sound in (((0, 10**9), False), ((10**9, 0), False), ((0, 1000), True)):
        stream = io.BytesIO()
        np.save(stream, np.zeros(shape, "float32"), False)
        code = base64.b64encode(stream.getvalue()).decode()
        text = json.dumps({"kind": "array", "npy": code})
        if sound:
            assert plain.decode(text).shape == shape
        else:
            with pytest.raises(CourseError, match="damaged"):
                plain.decode(text)


# -- comparing -------------------------------------------------------------------------


def test_close_wants_the_value_and_the_shape():
    x = torch.tensor([1.0, 2.0])
    assert checks.close(x, x.numpy()) and checks.close([1, 2], x)
    assert checks.close(torch.tensor(2.0), 2) and checks.close(2, 2.00001)
    assert not checks.close(x + 0.01, x)
    assert not checks.close(x[None], x)
    assert not checks.close(2.1, 2)
    assert not checks.close(x * torch.nan, x)
    assert not checks.close(torch.tensor([torch.inf, 2]), x)


@pytest.mark.parametrize(
    "value",
    [None, "2.0", {}, [], [[1], [2, 3]], [1, "a"], ["a"], 10**400, float("nan")],
)
def test_close_and_shape_survive_anything_plain(value):
    assert not checks.close(value, 2.0)
    checks.shape(value)


def wrong(*arguments, **named):
    """Does `expect` refuse?"""
    try:
        return checks.expect(*arguments, **named) is None
    except checks.Wrong as problem:
        return problem.hint == "form" and problem.credit == 0


@pytest.mark.parametrize(
    "value", [None, [], (), {}, "", 0, np.zeros(0), torch.zeros(2, 0), [[]], True]
)
def test_a_form_is_not_met_by_what_is_empty(value):
    assert wrong(value, "form", kind=list, length=2)
    assert wrong(value, "form", keys=["a"])
    assert wrong(value, "form", shape=(2,))
    assert wrong(value, "form", kind=int) or type(value) is int


def test_expect_gives_back_what_has_the_form():
    assert checks.expect([1, 2], kind=list, length=2) == [1, 2]
    assert checks.expect({"a": 1}, keys=["a"]) == {"a": 1}
    assert wrong({"a": 1, "b": 2}, "form", keys=["a"])
    found = checks.expect(torch.tensor([1, 2]), shape=(2,))
    assert found.dtype == np.float64 and found.tolist() == [1, 2]
    assert wrong([1.0, float("nan")], "form", shape=(2,))
    assert checks.expect([1.0, float("inf")], shape=(2,), finite=False)[0] == 1
    assert wrong(True, "form", kind=int) and wrong("ab", "form", kind=str, length=3)
    assert wrong(np.zeros((2, 3)), "form", length=2)


@pytest.mark.parametrize(
    "value, expected, equal",
    [
        ([1, 2], (1, 2), True),
        ([1, 2], [1, 2, 3], False),
        ([], [1], False),
        ([1.0, None], [1, None], True),
        ([torch.tensor(1), np.array(2.0)], [1, 2], True),
        ([torch.tensor([1])], [1], False),
        ([True], [1], False),
        ([1], [True], False),
        (["a"], ["a"], True),
        ({"a": [1]}, {"a": (1,)}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ([float("nan")], [float("nan")], False),
        ([np.zeros(3)], [None], False),
        ("ab", ["a", "b"], False),
        (10**400, 1, False),
        (torch.zeros(3), [0, 0, 0], False),
    ],
)
def test_same_compares_length_kind_and_content(value, expected, equal):
    assert checks.same(value, expected) is equal


def test_nothing_is_close_to_nothing():
    for empty in ([], (), np.zeros(0), torch.zeros(0, 3)):
        assert not checks.close(empty, empty)
        assert not checks.all_close(empty, [])
    assert checks.all_close([1.0, [2.0]], [1, [2]])
    assert not checks.all_close([1.0], [1, 2]) and not checks.all_close([1, 2], [1])


def test_the_last_part_of_an_answer_is_never_evaluated():
    assert checks.text_of("'abc+/='") == "abc+/="
    for shown in ("'a' + 'b'", "'a\\'b'", "__import__('os')", "abc", "'", "", None, 3):
        assert checks.text_of(shown) is None
