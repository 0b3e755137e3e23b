"""Which parameter is in which group and layer, and which are frozen."""

import pytest
import torch
from torch import nn

from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.models.classifier import Classifier
from yanmo.train.optimizers.groups import freeze, groups_of, layers_of, partition

from ..conftest import SMALL


def built(model, tokenizer, **settings):
    part = create("model", {"type": model, **SMALL[model], **settings})
    return part.build(tokenizer, torch.Generator().manual_seed(0), 24)


@pytest.mark.parametrize("model", SMALL)
def test_each_parameter_is_in_one_group(model, tokenizer):
    made = built(model, tokenizer)
    groups = partition(made)
    ids = [id(p) for group in groups.values() for p in group]
    assert sorted(ids) == sorted(id(p) for p in made.parameters())
    assert [p.shape for p in groups["embedding"]] == [made.embedding.weight.shape]
    assert all(p.ndim == 2 for p in groups["matrices"])
    assert all(p.ndim == 1 for p in groups["vectors"])
    assert groups["matrices"]


def test_an_untied_head_has_a_group_of_its_own(tokenizer):
    made = built("transformer", tokenizer, tie=False)
    assert partition(made)["head"][0] is made.head.weight


def test_layers_count_from_the_embedding_to_what_stands_behind_the_last_block(tokenizer):
    model = Classifier(built("transformer", tokenizer), 3)
    layers = layers_of(model)
    assert layers["backbone.embedding.weight"] == 0
    assert {layers[name] for name in layers if ".blocks.0." in name} == {1}
    assert {layers[name] for name in layers if ".blocks.1." in name} == {2}
    assert layers["score.weight"] == 3
    assert {layers[name] for name in layers if name.startswith("backbone.stack.norm")} == {3}


def test_layers_of_a_recurrent_network(tokenizer):
    part = create("model", {"type": "lstm", "depth": 2, "width": 32})
    layers = layers_of(part.build(tokenizer, torch.Generator().manual_seed(0), 24))
    assert layers["embedding.weight"] == layers["embedding_norm.weight"] == 0
    assert layers["lstm.weight_hh_l0"] == layers["lstm.bias_ih_l0"] == 1
    assert layers["lstm.weight_hh_l1"] == 2
    assert layers["norm.weight"] == 3


def test_an_encoder_stands_below_its_decoder(tokenizer):
    part = create("model", {"type": "transformer", "architecture": "encoder-decoder", "depth": 2, "width": 32, "heads": 2})
    layers = layers_of(part.build(tokenizer, torch.Generator().manual_seed(0), 24))
    assert {layers[n] for n in layers if n.startswith("encoder.blocks.1.")} == {2}
    assert {layers[n] for n in layers if n.startswith("stack.blocks.0.")} == {3}


@pytest.mark.parametrize("model", SMALL)
def test_layer_wise_decay_shares_out_the_rate_and_loses_no_parameter(model, tokenizer):
    made = built(model, tokenizer)
    groups = groups_of(made, 0.5)
    assert sorted(id(p) for g in groups for p in g.params) == sorted(id(p) for p in made.parameters())
    layers, names = layers_of(made), {id(p): n for n, p in made.named_parameters()}
    top = max(layers.values())
    for group in groups:
        assert {group.share} == {0.5 ** (top - layers[names[id(p)]]) for p in group.params}
    assert len({group.share for group in groups}) == top + 1
    assert {group.share for group in groups_of(made)} == {1.0}


def test_an_optimizer_takes_the_shares_as_peaks(tokenizer):
    made = create("optimizer", {"type": "adamw", "lr": 1.0, "layer_decay": 0.5}).make(built("transformer", tokenizer))
    assert sorted({group["peak"] for group in made.param_groups}) == [0.125, 0.25, 0.5, 1.0]
    made.begin(0.5, 0, 0)
    assert sorted({group["lr"] for group in made.param_groups}) == [0.0625, 0.125, 0.25, 0.5]


def test_frozen_parameters_stay_and_the_others_move(job, weights):
    from yanmo.train.loop import train

    made = job(optimizer={"type": "adamw", "lr": 1e-2, "freeze": ["embedding.*", "stack.blocks.0.*"]}, steps=3)
    before = weights(made.model)
    train(made)
    for name, value in weights(made.model).items():
        frozen = name.startswith(("embedding.", "stack.blocks.0."))
        assert torch.equal(before[name], value) == frozen, name


def test_a_pattern_that_matches_nothing_names_what_is_near(tokenizer):
    model = built("transformer", tokenizer)
    with pytest.raises(RecipeError, match=r"train\.optim\.freeze.*'embeding\.\*'.*did you mean 'embedding\.\*'"):
        freeze(model, ["embeding.*"])
    with pytest.raises(RecipeError, match="some parameters that are left to train"):
        freeze(model, ["*"])
    with pytest.raises(RecipeError, match="a pattern of parameter names"):
        create("optimizer", {"type": "muon", "freeze": ["嵌入.*"]}).make(built("transformer", tokenizer))


def test_a_module_without_layers_has_a_bottom_only():
    assert set(layers_of(nn.Sequential(nn.Linear(2, 3))).values()) == {0}
