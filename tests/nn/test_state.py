"""DenseSlots: rows of different lengths write behind their own length, share storage, swap and reset."""

import pytest
import torch

from yanmo.models.base import StateSpec
from yanmo.nn.state import DenseSlots

SPEC = {"keys": StateSpec((2,), torch.float32, True), "hidden": StateSpec((3,), torch.float32, False, fill=7.0)}


def filled(slots: DenseSlots, rows: list[int], values: torch.Tensor, counts: list[int]) -> None:
    part = slots.at(rows)
    part.write("keys", values)
    part.advance(counts)


def test_rows_of_different_lengths_keep_their_own_tokens():
    slots = DenseSlots(SPEC, rows=4, capacity=6)
    first = torch.arange(1, 25.0).view(2, 6, 2)
    filled(slots, [3, 1], first, [6, 2])
    part = slots.at([1, 3])
    assert part.lengths.tolist() == [2, 6]
    assert part.longest == 6
    new = torch.tensor([[[91.0, 92.0]], [[93.0, 94.0]]])
    part.write("keys", new)
    read = part.read("keys")
    assert read.shape == (2, 6, 2)  # 7 would be beyond the capacity
    assert read[0, :3].tolist() == [*first[1, :2].tolist(), [91.0, 92.0]]
    assert read[1].tolist() == first[0].tolist()  # the full row lost nothing to the token it had no room for


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0]])
def test_side_by_side_and_scattered_rows_read_the_same(rows):
    slots = DenseSlots(SPEC, rows=3, capacity=4)
    value = torch.randn(len(rows), 2, 2, generator=torch.Generator().manual_seed(0))
    filled(slots, rows, value, [2] * len(rows))
    part = slots.at(rows)
    part.write("keys", value * 2)
    assert torch.equal(part.read("keys"), torch.cat([value, value * 2], 1))


def test_per_row_state_starts_at_its_fill_and_is_replaced():
    slots = DenseSlots(SPEC, rows=2, capacity=4)
    assert slots.read("hidden").tolist() == [[7.0] * 3] * 2
    slots.at([1]).write("hidden", torch.ones(1, 3))
    assert slots.read("hidden").tolist() == [[7.0] * 3, [1.0] * 3]


def test_reset_leaves_nothing_even_of_values_that_are_not_finite():
    slots = DenseSlots(SPEC, rows=2, capacity=4)
    filled(slots, [0, 1], torch.full((2, 3, 2), float("nan")), [3, 3])
    slots.at([1]).write("hidden", torch.full((1, 3), float("nan")))
    slots.reset([1])
    assert slots.lengths.tolist() == [3, 0]
    assert slots.at([0]).longest == 3
    part = slots.at([1])
    part.write("keys", torch.ones(1, 4, 2))
    assert part.read("keys").isfinite().all()
    assert part.read("hidden").tolist() == [[7.0] * 3]


def test_copy_swaps_rows():
    slots = DenseSlots(SPEC, rows=3, capacity=4)
    value = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(1))
    filled(slots, [0, 1, 2], value, [3, 2, 1])
    slots.copy([1, 0], [0, 1])
    assert slots.lengths.tolist() == [2, 3, 1]
    assert torch.equal(slots.read("keys")[0, :2], value[1, :2])
    assert torch.equal(slots.read("keys")[1, :3], value[0, :3])
    assert torch.equal(slots.read("keys")[2, :1], value[2, :1])


def test_a_branch_copies_what_is_not_the_same_already():
    spec = {"keys": StateSpec((2,), torch.float32, per_token=True), "last": StateSpec((1,), torch.float32, per_token=False)}
    slots = DenseSlots(spec, 3, 8)
    slots.write("keys", torch.arange(3 * 5 * 2.0).view(3, 5, 2))
    slots.write("last", torch.tensor([[1.0], [2.0], [3.0]]))
    slots.advance([5, 4, 5])
    before = slots.read("keys").clone()
    slots.branch([0], [1], [2])
    assert slots.length(1) == 5
    torch.testing.assert_close(slots.read("keys")[1, :2], before[1, :2])  # taken for the same: not touched
    torch.testing.assert_close(slots.read("keys")[1, 2:], before[0, 2:])
    torch.testing.assert_close(slots.read("keys")[2], before[2])
    assert slots.read("last").tolist() == [[1.0], [1.0], [3.0]]
    with pytest.raises(AssertionError):
        slots.branch([0, 1], [1, 2], [0, 0])


def test_what_would_be_wrong_is_refused():
    slots = DenseSlots(SPEC, rows=2, capacity=4)
    with pytest.raises(AssertionError, match="room for 4"):
        slots.advance([5, 0])
    with pytest.raises(AssertionError, match="no_grad"):
        slots.write("hidden", torch.ones(2, 3, requires_grad=True))
    with pytest.raises(AssertionError, match="twice"):
        slots.at([0, 0])


def test_storage_made_inside_inference_mode_is_written_outside_of_it():
    with torch.inference_mode():
        slots = DenseSlots(SPEC, rows=1, capacity=4)
        filled(slots, [0], torch.ones(1, 1, 2), [1])
    filled(slots, [0], torch.ones(1, 1, 2) * 2, [1])
    assert slots.read("keys").tolist() == [[[1.0, 1.0], [2.0, 2.0]]]
