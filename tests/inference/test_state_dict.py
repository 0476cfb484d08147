"""Arrays of a PyTorch state dict, read without PyTorch."""

from collections.abc import Callable

import numpy as np
import pytest
from tiny_state_dict import written

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import state_dict

GIVEN = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.bias": np.full(2, -0.5, np.float32),
}


def test_float_arrays_come_back_by_name() -> None:
    """Counters of batches, which are whole numbers, are left out."""
    found = state_dict.arrays(written(GIVEN))
    assert ["a.weight", "b.bias"] == list(found)
    np.testing.assert_array_equal(GIVEN["a.weight"], found["a.weight"])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda _: written(GIVEN, strides=(1, 2)), "not stored row by row"),
        (lambda _: written(GIVEN, magic=1), "it begins with 1"),
        (lambda content: content[:-30], "cut short"),
        (lambda content: content[:60], "cannot be read"),
        (lambda _: b"PK\x03\x04 a newer form", "cannot be read"),
        (lambda _: b"", "cannot be read"),
    ],
    ids=["transposed", "magic", "storage", "pickle", "zip", "empty"],
)
def test_a_damaged_file_is_said(damage: Callable[[bytes], bytes], says: str) -> None:
    """Never an exception of pickle's own."""
    with pytest.raises(EngineUnavailable, match=says):
        state_dict.arrays(damage(written(GIVEN)))


def test_nothing_else_is_called_than_a_state_dict_needs() -> None:
    """A pickle that names a function of the system is refused before it runs."""
    with pytest.raises(EngineUnavailable, match=r"os system is no part of a state dict"):
        state_dict.arrays(b"\x80\x02cos\nsystem\n(X\x04\0\0\0trueq\0tq\x01R.")
