"""Numbers as people write them, in both scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.text.numerals import chinese, numbers, spelled


@pytest.mark.parametrize(("written", "found"), [
    ("", []), ("no number 🐋", []), ("7", [7]), ("the sum is 1,024.", [1024]), ("-3.5 or −2", [-3.5, -2]), ("７＋８＝１５", [7, 8, 15]),
    ("十二", [12]), ("二十", [20]), ("一百零五", [105]), ("两千三百", [2300]), ("三点一四", [3.14]), ("负一万", [-10000]),
    ("二〇二六年", [2026]), ("一亿零五", [100000005]), ("答案是三十五，不是53", [35, 53]), ("1,02", [1, 2]), ("3-4", [3, -4]),
    ("߅ and ٣٤", [5, 34]), ("万" * 400, [float("inf")]),
])  # fmt: skip
def test_numbers_are_read(written, found):
    assert numbers(written) == pytest.approx(found)


@given(st.integers(0, 99_999_999))
def test_what_is_spelled_is_read(value):
    assert chinese(spelled(value)) == value
    assert numbers(f"共{spelled(value)}个") == [value]


@given(st.text(st.characters(categories=("Nd", "Nl", "No")) | st.sampled_from("零一二十百千万亿点负,.-−"), max_size=60))
def test_whatever_looks_like_a_number_is_read_without_an_error(written):
    assert all(isinstance(value, float) for value in numbers(written))
