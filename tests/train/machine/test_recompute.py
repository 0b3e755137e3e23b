"""Activation checkpointing: the same gradients to the bit, dropout included, with less kept."""

import numpy as np
import pytest
import torch

from tests.objectives.tiny import TEXTS, tokenizer
from tests.train.test_loop import same
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.objectives.base import Context
from yanmo.train.batches import TokenBatches
from yanmo.train.loop import train
from yanmo.train.machine.recompute import recomputed
from yanmo.train.randomness import seeded
from yanmo.train.records.metrics import read
from yanmo.train.step import forward_backward, forward_of

KINDS = {
    "causal": {"architecture": "decoder"},
    "masked": {"architecture": "encoder"},
    "span_corruption": {"architecture": "encoder-decoder"},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_gradients_are_the_same_to_the_bit(dropout, precision, job):
    found = []
    for wanted in (False, True):
        made = job(precision=precision)
        for block in made.model.stack.blocks:
            block.dropout = dropout
        made.model.train()
        rng = seeded(0, 0)
        with recomputed(made.model, wanted):
            forward_backward(made, forward_of(made), made.batches.take((0, 0), rng)[0], rng)
        found.append({name: p.grad.clone() for name, p in made.model.named_parameters()})
    assert same(*found)


def test_it_keeps_an_input_a_layer_and_computes_each_twice(job):
    """Bytes that the graph holds on to, and how often a block's feed-forward layer is computed."""
    found = {}
    for wanted in (False, True):
        made = job()
        kept, calls = {}, []

        def pack(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        handle = made.model.stack.blocks[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        made.model.train()
        (batch,) = made.batches.take((0, 0), seeded(0, 0))[0][:1]
        with recomputed(made.model, wanted):
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = forward_of(made)(batch)
            weights = {p.untyped_storage().data_ptr() for p in made.model.parameters()}
            found[wanted] = sum(size for at, size in kept.items() if at not in weights)
            loss.total.backward()
        handle.remove()
        assert len(calls) == 1 + wanted
        assert "forward" not in vars(made.model.stack.blocks[0])
    assert found[True] < 0.6 * found[False], found


def test_a_whole_training_is_the_same(job, weights):
    plain, again = job("plain", steps=5), job("again", steps=5, recompute=True)
    train(plain)
    train(again)
    assert same(weights(plain.model), weights(again.model))
    assert [line["loss"] for line in read(plain.folder / "metrics.jsonl")] == [line["loss"] for line in read(again.folder / "metrics.jsonl")]


def test_validation_computes_nothing_twice(job):
    made, calls = job(), []
    made.model.stack.blocks[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    (batch,) = made.batches.take((0, 0), seeded(0, 0))[0][:1]
    made.model.eval()
    with recomputed(made.model, True):
        made.objective.loss(made.model, batch).total.backward()
    assert len(calls) == 1


def test_a_model_without_layers_that_are_alike_is_refused(job):
    with pytest.raises(RequestError, match=r"train.recompute: expected a model of layers that are alike"):
        train(job(model="lstm", recompute=True))


@pytest.mark.parametrize("objective", list(KINDS))
def test_every_architecture(objective, shards):
    of = tokenizer()
    part = create("model", {"type": "transformer", "depth": 2, "width": 32, "heads": 2, "dropout": 0.2, **KINDS[objective]})
    bound = create("objective", objective).bind(Context(of))

    class Stream:
        tokens = np.array([token for text in TEXTS for token in (of.eos_id, *of.encode(text))], np.uint16)

    found = []
    for wanted in (False, True):
        model = part.build(of, torch.Generator().manual_seed(1), 24)
        batches = TokenBatches(Stream(), bound, 24, 4, 4, 0)
        rng = seeded(0, 0)
        (batch,), _ = batches.take((0, 0), rng)
        model.train()
        with recomputed(model, wanted):
            bound.loss(model, batch).total.backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert same(*found)
