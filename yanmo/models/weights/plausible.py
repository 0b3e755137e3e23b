"""Does a config belong to its weights? Asked before a module is made of it, so that a config that asks for 10⁹ layers
costs a line and not the memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.weights.tensors import Tensors, elements

# Every layer and every expert has a tensor of its own, or a row of one that holds them all; every width is a dimension of
# some tensor, at the least.
COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers",
          "num_local_experts", "num_experts", "n_routed_experts", "depth", "layers")  # fmt: skip
WIDTHS = ("vocab_size", "hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim",
          "decoder_ffn_dim", "moe_intermediate_size", "num_attention_heads", "num_key_value_heads", "n_head", "num_heads",
          "encoder_attention_heads", "decoder_attention_heads", "head_dim", "d_kv", "type_vocab_size", "width", "heads",
          "kv_heads", "mlp_width", "head_size")  # fmt: skip
POSITIONS = ("max_position_embeddings", "n_positions", "context", "sliding_window", "window")
LONGEST = 1 << 24  # positions: tables of them are made, and no published model has as many
SMALL = (32, 512)  # layers and widths that cost nothing: what does not fit is then said tensor by tensor
DEEPEST = 4096  # layers
SPARE = 1 << 24  # numbers that a model may have besides those of its file


def plausible(config: Mapping[str, Any], tensors: Tensors, place: str) -> None:
    """DataError at `place` for the first size of `config` that its tensors cannot have, whatever the family. Parts of it
    that are settings themselves are looked at too."""
    full = [tensors.shape(name) for name in tensors if elements(tensors.shape(name))]
    layers = max(SMALL[0], min(len(full), DEEPEST))
    widest = max([SMALL[1], *(size for shape in full for size in shape)])
    most = {**dict.fromkeys(COUNTS, max(layers, widest)), **dict.fromkeys(WIDTHS, widest), **dict.fromkeys(POSITIONS, LONGEST)}
    for settings in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for key, limit in most.items():
            value = settings.get(key)
            if "layer" in key or key == "depth":
                limit = layers
            if value is None or isinstance(value, (list, tuple)):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
                expected = text("a whole number from 0 to {most}, by the tensors that are there", most=limit)
                raise DataError(f"{place}: {key}", expected, str(value)[:40])


def held(described: int, tensors: Tensors, place: str) -> None:
    """DataError where a config describes many more numbers than its tensors hold, before room is made for them."""
    there = sum(elements(tensors.shape(name)) for name in tensors)
    if described > there + SPARE:
        expected = text("a model of about {count} numbers, as many as its tensors hold", count=there)
        raise DataError(place, expected, text("one of {count}", count=described))
