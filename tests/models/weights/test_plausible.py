"""A config that asks for more than its weights are is refused before a module is made."""

from __future__ import annotations

import pytest
import torch

from yanmo.core.errors import DataError
from yanmo.models.weights.plausible import plausible
from yanmo.models.weights.tensors import Held

TENSORS = Held({f"layers.{i}.w": torch.zeros(6, 4) for i in range(39)} | {"embed": torch.zeros(1000, 4)})
SOUND = {"num_hidden_layers": 39, "hidden_size": 4, "vocab_size": 1000, "max_position_embeddings": 131072, "head_dim": None, "settings": {"depth": 2}}


def test_sizes_that_the_tensors_have():
    plausible(SOUND, TENSORS, "config.json")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"n_layer": 41}, "n_layer"),
        ({"vocab_size": 1001}, "vocab_size"),
        ({"hidden_size": 10**12}, "hidden_size"),
        ({"num_attention_heads": -1}, "num_attention_heads"),
        ({"num_hidden_layers": "3"}, "num_hidden_layers"),
        ({"num_hidden_layers": 3.0}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_local_experts": 10**9}, "num_local_experts"),
        ({"max_position_embeddings": 1 << 40}, "max_position_embeddings"),
        ({"settings": {"depth": 10**9}}, "depth"),
    ],
)
def test_a_size_that_they_cannot_have_is_named(change, key):
    with pytest.raises(DataError, match=rf"config\.json: {key}: expected a whole number from 0 to"):
        plausible(SOUND | change, TENSORS, "config.json")
