"""MFU, the matrix rate, memory and energy of a training."""

import pytest
import torch

from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.objectives.base import Batch
from yanmo.train.checkpoint import State
from yanmo.train.machine.gauge import Gauge, Work, gauge_of, work_of
from yanmo.train.machine.matrix_rate import matrix_rate, shapes_of
from yanmo.train.machine.peaks import peak


@pytest.mark.parametrize(("name", "rate"), [
    ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12), ("NVIDIA A100-SXM4-80GB", 312e12),
    ("NVIDIA L4", 121e12), ("NVIDIA L40S", 362e12), ("NVIDIA GeForce RTX 4090", 165.2e12), ("Tesla T4", 65e12),
    ("NVIDIA H200 MIG 1g.18gb", None), ("NVIDIA A10G", None), ("llvmpipe", None), ("", None)])  # fmt: skip
def test_known_gpus_have_a_peak(name, rate):
    assert peak(name) == rate


def built(tokenizer, **settings):
    return create("model", settings).build(tokenizer, torch.Generator().manual_seed(0), 24)


@pytest.mark.parametrize("settings", [
    {"type": "transformer", "depth": 2, "width": 32, "heads": 2}, {"type": "transformer", "depth": 1, "width": 32, "heads": 2, "tie": False},
    {"type": "lstm", "depth": 2, "width": 24}, {"type": "gru", "depth": 1, "width": 16}])  # fmt: skip
def test_the_shapes_are_those_that_the_part_counts(settings, tokenizer):
    """The products' shapes, found in the module, hold the operations that the part counts by formula, without attention."""
    model = built(tokenizer, **settings)
    by_shape = 6.0 * sum(o * i * count for (o, i), count in shapes_of(model).items())
    assert by_shape == pytest.approx(model.part.flops(tokenizer.size, 0))


def test_a_filter_is_multiplied_with_all_that_it_sees(tokenizer):
    model = Classifier(built(tokenizer, type="cnn", embedding=16, filters=8, widths=[2, 3]), 3)
    assert shapes_of(model)[(8, 16 * 2)] == shapes_of(model)[(8, 16 * 3)] == 1
    by_shape = 6.0 * sum(o * i * count for (o, i), count in shapes_of(model).items())
    assert by_shape == pytest.approx(work_of(model, 0).body, rel=0.1)


def test_a_rate_that_was_measured_beside_other_work_is_mended():
    """At the start the machine looked slow; at the end it is asked once more, and the mean share is held against the better."""
    rates = iter([1e9, 4e9])
    gauge = Gauge(Work(1e6), rate=lambda: next(rates))
    state = State(0, step=1, tokens=1000, seconds=1.0)
    assert gauge.step([batch(10, 100, 0.0)], 1.0, state)["matrix_share"] == 1.0
    assert gauge.summary(state)["matrix_share"] == 0.25


def test_a_model_that_nobody_counted_is_counted_by_its_weights():
    model = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 4))
    assert work_of(model, 10) == Work(6.0 * (8 * 16 + 16 * 4))


def test_a_classifiers_head_is_not_the_language_models(tokenizer):
    model = built(tokenizer, type="transformer", depth=2, width=32, heads=2)
    assert work_of(Classifier(model, 3), 24).body == model.part.flops(0, 24)
    assert work_of(Classifier(model, 3), 24).head == 0
    whole = work_of(model, 24)
    assert whole.body + whole.head == pytest.approx(model.part.flops(tokenizer.size, 24))


def batch(rows, length, weight, mask=None):
    """`weight` of its tokens are predicted."""
    weights = torch.full((rows, length), weight / (rows * length))
    return Batch(Inputs(torch.zeros(rows, length, dtype=torch.int64), mask=mask), weights=weights)


def test_padding_is_no_work_and_the_head_works_for_what_is_predicted():
    work = Work(10.0, 100.0)
    mask = torch.tensor([[True, True, False, False]])
    assert work.of([batch(2, 8, 16.0)]) == 10 * 16 + 100 * 16
    assert work.of([batch(1, 4, 1.0, mask)]) == 10 * 2 + 100


def test_the_matrix_rate_changes_nothing_and_is_a_rate(tokenizer):
    model = built(tokenizer, type="transformer", depth=1, width=64, heads=2)
    before, drawn = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    rate = matrix_rate(model, 256, torch.device("cpu"), "fp32")
    assert 1e7 < rate < 1e14
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert matrix_rate(torch.nn.LayerNorm(3), 8, torch.device("cpu"), "fp32") is None


def test_shares_are_operations_over_rates(monkeypatch):
    gauge = Gauge(Work(1e6, 1e6), rate=lambda: 4e9)
    gauge.peak = 2e10
    state = State(0, step=1, tokens=1000, seconds=1.0)
    found = gauge.step([batch(10, 100, 1000.0)], 1.0, state)
    assert (found["mfu"], found["matrix_share"], found["tokens_per_second"]) == (0.1, 0.5, 1000.0)
    assert found["memory_bytes"] > 1e7
    assert found["joules"] == state.joules >= 0
    told = gauge.summary(state)
    assert (told["mfu"], told["matrix_share"], told["matrix_rate"], told["method"]) == (0.1, 0.5, 4_000_000_000, state.power)


def test_energy_goes_on_after_a_kill_by_the_weakest_method():
    state = State(0, step=5, joules=1000.0, power="measured")
    gauge = Gauge()
    gauge.step([batch(1, 1, 1.0)], 1.0, state)
    assert state.joules >= 1000.0
    assert state.power in ("measured", "estimated")
    lost = State(0, step=5, joules=None, power="unknown")
    found = Gauge().step([batch(1, 1, 1.0)], 1.0, lost)
    assert lost.joules is None
    assert "joules" not in found
    assert Gauge(country="CHN").summary(lost)["joules"] is None


def test_a_plan_makes_a_gauge(tokenizer):
    model = built(tokenizer, type="lstm", depth=1, width=16)
    gauge = gauge_of(model, {"device": "cpu", "precision": "fp32", "micro_rows": 4, "context": 24}, "CHN")
    assert gauge.rate > 0
    assert gauge.peak is None
    assert gauge.country == "CHN"


def test_an_adapters_model_multiplies_what_it_stands_at_and_learns_less(tokenizer):
    """Thin pairs tell no machine's rate; weights that stay as they are have no gradient of their own to be computed."""
    plain = built(tokenizer, type="transformer", depth=2, width=32, heads=2)
    whole, shapes = work_of(plain, 24), shapes_of(plain)
    adapted = create("adapter", {"type": "lora", "rank": 2, "targets": "all"}).apply(plain, torch.Generator().manual_seed(0))
    assert shapes_of(adapted) == shapes
    assert 4 / 6 < work_of(adapted, 24).body / whole.body < 0.8
    for parameter in adapted.parameters():
        parameter.requires_grad_(False)
    assert work_of(adapted, 24).body == pytest.approx(whole.body / 3)
