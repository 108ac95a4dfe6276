from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from geoseg.segment.splitmix import mix64

MASK = 2**64 - 1


def with_python_integers(bits: int) -> int:
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & MASK
    return bits ^ (bits >> 31)


@njit
def compiled(bits: np.uint64) -> np.uint64:
    return np.uint64(mix64(bits))


@given(st.lists(st.integers(0, MASK), max_size=20))
def test_array_gives_the_same_bits_as_python_integers(numbers: list[int]) -> None:
    mixed = mix64(np.array(numbers, np.uint64))

    assert mixed.dtype == np.uint64
    assert mixed.tolist() == [with_python_integers(number) for number in numbers]


@given(st.integers(0, MASK))
def test_scalar_in_compiled_code_gives_the_same_bits_as_an_array(number: int) -> None:
    assert int(compiled(np.uint64(number))) == int(mix64(np.array([number], np.uint64))[0])


def test_consecutive_numbers_differ_in_half_of_their_bits() -> None:
    mixed = mix64(np.arange(10_001, dtype=np.uint64))

    changed = np.unpackbits((mixed[1:] ^ mixed[:-1]).view(np.uint8)).reshape(-1, 64)
    assert abs(changed.mean() - 0.5) < 0.01
    assert (np.abs(changed.mean(axis=0) - 0.5) < 0.05).all()
