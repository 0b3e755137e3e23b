"""Every model that is trained × every objective that trains its kind: two rows are learned by heart, the model is saved, and
what is opened gives the same logits. Both tables are the registry's: a new line of either is tested at once."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.objectives.tiny import CHINESE, ENGLISH, STREAMS, bound, tokenizer
from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.registry import create, names, resolve
from yanmo.models.store import load, save

SMALL = {"depth": 1, "width": 32}
HEADS = {**SMALL, "heads": 2}
ARCHITECTURES = [  # of the one Transformer; a name that is missing in MODELS is tested as it stands
    {**HEADS},
    {**HEADS, "mlp": {"type": "experts", "experts": 4, "active": 2}},
    {**HEADS, "architecture": "encoder"},
    {**HEADS, "architecture": "encoder", "embedding": {"types": 2}, "head": {"pooler": True, "pairs": True}},
    {**HEADS, "architecture": "encoder", "embedding": {"query": True}},
    {**HEADS, "architecture": "encoder-decoder"},
]
MODELS = {
    "rnn": [SMALL], "gru": [SMALL], "lstm": [SMALL, {"depth": 2, "width": 32, "tie": False}], "transformer": ARCHITECTURES,
    "bert": [HEADS], "t5": [HEADS, {**HEADS, "tie": True}], "bart": [HEADS],
}  # fmt: skip
OBJECTIVES = {
    "causal": [{}, {"carry": True}], "masked": [{}, {"whole_word": True}, {"next_sentence": "sop"}, {"next_sentence": "nsp"}],
}  # fmt: skip
TRAINED = [name for name in names("model") if resolve("model", name).language() and not resolve("model", name).counted]
CASES = [
    ({"type": model, **settings}, (objective, variant))
    for model in TRAINED for settings in MODELS.get(model, [{}])
    for objective in STREAMS for variant in OBJECTIVES.get(objective, [{}])
]  # fmt: skip


def build(settings, context=48):
    return create("model", settings).build(tokenizer(), torch.Generator().manual_seed(0), context)


def belongs(settings, objective):
    """Whether the objective takes the model, by its own word."""
    try:
        objective.check(build(settings))
    except RequestError:
        return False
    return True


@cache
def pairs():
    """(settings, objective, its settings) of all that belongs together."""
    return [(settings, name, variant) for settings, (name, variant) in CASES if belongs(settings, bound(name, **variant))]


def named(case):
    settings, name, variant = case
    told = [settings["type"], settings.get("architecture"), *(key for key in ("embedding", "mlp", "tie") if key in settings), name, *variant.values()]
    return "-".join(str(word) for word in told if word)


@pytest.fixture(scope="module", params=pairs(), ids=named)
def learned(request):
    """(model, objective, batch, first loss, last loss) after a hundred steps on one batch of two rows."""
    settings, name, variant = request.param
    torch.manual_seed(0)
    objective, model = bound(name, context=48, **variant), build(settings).train()
    stream = [tokenizer().eos_id, *tokenizer().encode(ENGLISH)], [tokenizer().eos_id, *tokenizer().encode(CHINESE)]
    length = objective.stretch(40) + objective.overlap
    batch = objective.collate([Row(ids[:length], example=i) for i, ids in enumerate(stream)], torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(100):
        loss = objective.loss(model, batch)
        losses.append(float(loss.total.detach()) / batch.weight)
        (loss.total / batch.weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), objective, batch, losses[0], losses[-1]


def test_every_objective_has_a_model_and_every_model_an_objective():
    found = pairs()
    assert {name for _, name, _ in found} == set(STREAMS)
    assert {settings["type"] for settings, _, _ in found} == set(TRAINED)
    architectures = [settings for settings, _, _ in found if settings["type"] == "transformer"]
    assert all(any(settings == {"type": "transformer", **wanted} for settings in architectures) for wanted in ARCHITECTURES)


def test_two_rows_are_learned_by_heart(learned):
    *_, first, last = learned
    assert last < 0.1 * first


@torch.no_grad()
def test_saved_and_opened_it_gives_the_same_logits_and_the_same_loss(learned, tmp_path):
    model, objective, batch, *_ = learned
    save(tmp_path / "model", model, tokenizer(), extra={"objective": objective.type})
    opened = load(tmp_path / "model")
    assert opened.model.kind == model.kind
    assert type(opened.model) is type(model)
    before, after = model(batch.inputs), opened.model(batch.inputs)
    assert torch.equal(after.logits, before.logits)
    assert after.logits.isfinite().all()
    assert float(objective.loss(opened.model.eval(), batch).total) == float(objective.loss(model, batch).total)
    if objective.type == "masked" and objective.pairs:
        assert torch.equal(opened.model.pair_logits(after.hidden), model.pair_logits(before.hidden))
