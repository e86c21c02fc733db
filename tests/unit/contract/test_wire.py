from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from twinlens.contract import wire

floats = arrays(
    st.sampled_from([np.float32, np.float16]),
    array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-100, 100, width=16),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(floats)
def test_arrays_come_back(array):
    decoded = wire.decode(*wire.encode(array))
    assert isinstance(decoded, np.ndarray)
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@given(st.lists(json_values, max_size=4))
def test_json_comes_back(value):
    assert wire.decode(*wire.encode(value)) == value


@pytest.mark.parametrize("leading", [(), (3,)])
def test_causal_packing_halves_the_bytes_and_comes_back(leading):
    array = np.tril(np.random.default_rng(0).random((*leading, 7, 7), np.float32))
    header, buffer = wire.encode(array, causal=True)
    assert len(buffer) == 4 * 28 * int(np.prod(leading, initial=1))
    np.testing.assert_array_equal(wire.decode(header, buffer), array)


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)))
def test_compact_error_is_below_its_bound(array):
    header, buffer = wire.encode(array, compact=True)
    assert len(buffer) == array.size
    assert header["scale"] <= max(array.max() * 2**0.25 * (1 + 1e-6), 1)
    assert np.abs(wire.decode(header, buffer) - array).max() <= header["scale"] / 255


@given(arrays(np.float32, (4, 5), elements=st.floats(-1, 1, width=32)))
def test_compact_keeps_signs(array):
    header, buffer = wire.encode(array, compact=True)
    decoded = wire.decode(header, buffer)
    assert len(buffer) == array.size
    assert np.abs(decoded - array).max() <= header["scale"] / 127
    assert (decoded * array >= 0).all()


def test_compact_leaves_what_is_not_finite():
    array = np.array([np.nan, 2.0], np.float32)
    header, buffer = wire.encode(array, compact=True)
    assert header["dtype"] == "float32"
    np.testing.assert_array_equal(wire.decode(header, buffer), array)


def test_compact_json_keeps_four_digits_and_every_whole_number():
    value = {"a": [0.123456, 1e-9, 123456.0, 654321], "b": ("x", True, None, -2.00049)}
    assert wire.decode(*wire.encode(value, compact=True)) == {
        "a": [0.1235, 1e-9, 123500.0, 654321],
        "b": ["x", True, None, -2.0],
    }


def test_compact_words_come_back_with_their_scores():
    words = [[f"word {i}", (-1) ** i * i / 13] for i in range(12)]
    value = [{"words": words, "few": words[:3], "loud": [["a", 1.5 + i] for i in range(9)]}]
    decoded = wire.decode(*wire.encode(value, compact=True))
    assert [word for word, _ in decoded[0]["words"]] == [word for word, _ in words]
    for (_, score), (_, before) in zip(decoded[0]["words"], words, strict=True):
        assert abs(score - before) <= 0.5e-4
    assert decoded[0]["few"] == [[word, float(f"{score:.4g}")] for word, score in words[:3]]
    assert decoded[0]["loud"] == value[0]["loud"]


def test_blocks_that_are_alike_share_a_scale_and_add_up():
    rng = np.random.default_rng(0)
    base = rng.normal(size=1000).astype(np.float32)
    (header, one), (same, other) = (
        wire.encode(values, compact=True) for values in (base, base * 1.0001)
    )
    assert header == same
    added = wire.subtract(other, one)
    assert wire.add(added, one) == other
    assert len(zlib.compress(added)) < len(zlib.compress(other)) / 4


def test_wide_types_are_narrowed():
    assert wire.encode(np.zeros(2))[0]["dtype"] == "float32"
    assert wire.encode(np.arange(2))[0]["dtype"] == "int32"


def test_objects_are_refused():
    with pytest.raises(TypeError, match="blocks hold numbers"):
        wire.encode(np.array(["a", None], object))


def test_a_buffer_of_the_wrong_size_is_refused():
    header, buffer = wire.encode(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError):
        wire.decode(header, buffer[:-4])
