"""Going on from a model that is there: gentler rates, what a pass holds, and how the plan sees it."""

from __future__ import annotations

import pytest
import torch

from tests.inference.tiny import model, tokenizer
from yanmo.core.registry import create
from yanmo.models.transformer import TransformerModel
from yanmo.objectives.base import Context
from yanmo.train.plan import continued
from yanmo.train.settings import Train

CAUSAL = create("objective", {"type": "causal", "context": 32}).bind(Context(tokenizer()))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_open_rates_are_a_tenth_of_a_fresh_models(name):
    full = create("optimizer", name).filled(256)
    found = continued.gentle(create("optimizer", name), 256)
    rates = [field for field in type(full).model_fields if field.endswith("lr")]
    assert rates
    assert all(getattr(found, rate) == pytest.approx(continued.RATE * getattr(full, rate)) for rate in rates)
    given = continued.gentle(create("optimizer", {"type": name, "lr": 0.003}), 256)
    assert given.lr == 0.003
    assert all(getattr(given, rate) < getattr(full, rate) for rate in rates if rate != "lr")


def test_what_a_recipe_leaves_open_is_filled_and_nothing_else():
    open_ = continued.filled(Train(), 256, False, 512)
    assert (open_.epochs, open_.micro_tokens, open_.schedule.type) == (continued.EPOCHS, 512, "cosine")
    assert 0 < open_.schedule.warmup < 1
    assert continued.filled(Train(steps=5), 256, False, 512).epochs is None
    assert continued.filled(Train(), 256, True, 512).epochs is None
    given = Train(epochs=1.0, schedule=create("schedule", "constant"), optim=create("optimizer", {"type": "adamw", "lr": 0.1, "table_lr": 0.1}))
    assert continued.filled(given, 256, False, 512).model_dump() == given.model_dump() | {"micro_tokens": 512}


def test_what_a_pass_holds_grows_with_its_tokens_and_with_the_model():
    ids = tokenizer().encode("The ink stick is ground on the stone with a little water, slowly. 研墨是写字之前的功夫。")
    parts = {depth: TransformerModel(depth=depth, width=64, heads=2, context=128) for depth in (1, 4)}
    built = {depth: part.build(tokenizer(), torch.Generator().manual_seed(0)) for depth, part in parts.items()}
    found = {depth: continued.cost(each, CAUSAL, ids) for depth, each in built.items()}
    assert found[4].token > 2.5 * found[1].token
    assert found[1].token > 4 * 64 * 4  # at least some hidden states of a block
    before = {name: value.clone() for name, value in built[1].state_dict().items()}
    assert continued.cost(built[1], CAUSAL, ids[:1]) == pytest.approx(found[1], rel=0.2), "also of a corpus of one token"
    assert all(torch.equal(value, before[name]) for name, value in built[1].state_dict().items())
    assert all(parameter.grad is None for parameter in built[1].parameters())


def test_so_many_tokens_at_a_time_as_fit():
    cpu = torch.device("cpu")
    assert continued.micro_tokens(1.0, cpu) == continued.MICRO["cpu"]
    assert continued.micro_tokens(2**20, cpu) == 1024
    assert continued.micro_tokens(2**40, cpu) == 1


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_a_plan_sees_what_a_model_is(kind):
    each = model(kind)
    found = continued.described(each)
    assert found.parameters(0) == sum(p.numel() for p in each.parameters())
    assert found.flops(each.vocabulary, 64) == pytest.approx(each.part.flops(each.vocabulary, 64))
    assert (found.type, found.kind, found.context, found.width) == (each.family, "causal", each.context, 48)
