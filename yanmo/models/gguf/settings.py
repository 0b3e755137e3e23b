"""The settings of a model, from a GGUF file's metadata to config.json's keys and back.

What one side cannot say of the other is refused by its key, never dropped: a rotary scaling that was forgotten shifts every
logit a little, and nobody would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.gguf import rotary
from yanmo.models.gguf.architectures import (
    BERT,
    EXPORTED,
    GEMMA2,
    GEMMA3,
    GPT2,
    GPT_NEOX,
    LLAMA,
    MIXTRAL,
    READ,
    REQUIRED,
    Architecture,
)

Values = Mapping[str, Any]
PATTERNS = {GEMMA2.name: 2, GEMMA3.name: 6}  # every so manieth layer sees the whole row, the others a window
UNUSUAL = {GEMMA2.name: 46, GEMMA3.name: 62}  # so many layers (the 27B ones): scores are scaled by width / heads
TYPES = 2  # of BERT's sentences
ALIASES = {"num_experts": "num_local_experts"}  # what transformers 5 writes for what is published


def architecture_of(metadata: Values, place: str) -> Architecture:
    """Which architecture the file holds; DataError for one that we do not read."""
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in READ:
        raise DataError(f"{place}: general.architecture", text("one of {choices}", choices=", ".join(READ)), str(name)[:80])
    if name == LLAMA.name and metadata.get(f"{name}.expert_count"):
        return MIXTRAL
    return READ[name]


def published(metadata: Values, tensors: Mapping[str, tuple[int, ...]], place: str,
              factors: Any = None) -> dict[str, Any]:  # fmt: skip
    """config.json of the model in a file: `tensors` are the shapes by the file's names, `factors` its rope_freqs."""
    kind = architecture_of(metadata, place)
    get = _Getter(metadata, kind, place)
    config: dict[str, Any] = {"architectures": [kind.model_class], "model_type": kind.model_type}
    if "token_embd.weight" not in tensors:
        raise DataError(place, text("a tensor {name}", name="token_embd.weight"), text("none"))
    config["vocab_size"] = tensors["token_embd.weight"][0]
    for key, theirs, default in kind.settings:
        config[key] = get(theirs, default)
    config |= {key: values[0] for key, values in kind.means.items() if values[0] is not None}
    if kind is BERT:
        config["type_vocab_size"] = tensors.get("token_types.weight", (TYPES,))[0]
        config["yanmo"] = {"pooler": False}  # the format has no place for one
    elif kind is GPT2:
        config["tie_word_embeddings"] = "output.weight" not in tensors
    elif kind is GPT_NEOX:
        config |= _neox(config, get, factors)
    else:
        config |= _decoder(kind, config, get, tensors, factors)
    for key, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if token is not None:
            config[f"{key}_token_id"] = token
    return config


def _decoder(kind: Architecture, config: Values, get: _Getter, tensors: Mapping[str, Any], factors: Any) -> dict[str, Any]:
    heads = config["num_attention_heads"]
    size = get("attention.key_length", config["hidden_size"] // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if get(key, size) != size:
            raise DataError(f"{get.place}: {kind.name}.{key}", str(size), str(get(key, size)),
                            text("this setting is not supported"))  # fmt: skip
    more: dict[str, Any] = {
        "num_key_value_heads": config["num_key_value_heads"] or heads,
        "head_dim": size,
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    if kind is LLAMA:
        more |= {"attention_bias": "blk.0.attn_q.bias" in tensors, "mlp_bias": "blk.0.ffn_down.bias" in tensors}
    parameters = rotary.published(get, config["max_position_embeddings"], size, factors)
    if kind.name in PATTERNS:
        period = get("attention.sliding_window_pattern", PATTERNS[kind.name])
        if type(period) is not int or period < 1:
            raise DataError(f"{get.place}: {kind.name}.attention.sliding_window_pattern",
                            text("a number of at least {least}", least=1), str(period)[:40])  # fmt: skip
        more["layer_types"] = layer_types(config["num_hidden_layers"], period)
        more["query_pre_attn_scalar"] = _scalar(kind, config, size)
    if kind is GEMMA3:
        local = {"rope_type": "default", "rope_theta": get("rope.freq_base_swa", 10_000.0)}
        return more | {"rope_parameters": {"full_attention": parameters, "sliding_attention": local}}
    return more | {"rope_theta": parameters["rope_theta"], "rope_parameters": parameters}


def _neox(config: Values, get: _Getter, factors: Any) -> dict[str, Any]:
    """GPT-NeoX turns a share of each head, and has a head of its own for the logits."""
    size = config["hidden_size"] // config["num_attention_heads"]
    turned = get("rope.dimension_count", size)
    if not 0 < turned <= size:
        raise DataError(f"{get.place}: rope.dimension_count", text("a number of at most {most}", most=size), str(turned))
    parameters = rotary.published(get, config["max_position_embeddings"], turned, factors)
    return {
        "use_parallel_residual": get("use_parallel_residual", True), "rotary_pct": turned / size, "tie_word_embeddings": False,
        "rope_theta": parameters["rope_theta"], "rope_parameters": parameters | {"partial_rotary_factor": turned / size},
    }  # fmt: skip


def described(config: Values, place: str) -> tuple[dict[str, Any], Any]:
    """The metadata that says what a config.json says, without the tokenizer's; and its rotary factors (half a head's size)
    where they are a tensor of the file, else None. DataError for a setting that the format has no place for."""
    kind = EXPORTED.get(str(config.get("model_type")))
    if kind is None:
        given = str(config.get("model_type"))
        raise DataError(f"{place}: model_type", text("one of {choices}", choices=", ".join(EXPORTED)), given,
                        text("the format has no place for it; a Hugging Face folder has: --to hf"))  # fmt: skip
    metadata: dict[str, Any] = {"general.architecture": kind.name, "general.type": "model"}

    def put(key: str, value: Any) -> None:
        metadata[f"{kind.name}.{key}"] = value

    for key, theirs, default in kind.settings:
        value = config.get(key, config.get(ALIASES.get(key, key)))
        if value is None and default is REQUIRED:
            raise DataError(place, text("a '{key}'", key=key), text("none"))
        if value is not None:
            put(theirs, float(value) if isinstance(value, float) or "epsilon" in theirs or "softcap" in theirs else value)
    if not isinstance(config.get("vocab_size"), int):
        raise DataError(place, text("a '{key}'", key="vocab_size"), str(config.get("vocab_size"))[:40])
    put("vocab_size", config["vocab_size"])
    _refuse(config, kind, place)
    if kind is BERT:
        put("attention.causal", False)
        metadata["tokenizer.ggml.token_type_count"] = config.get("type_vocab_size", TYPES)
        return metadata, None
    if kind is GPT2:
        put("feed_forward_length", config.get("n_inner") or 4 * config["n_embd"])
        return metadata, None
    heads = config["num_attention_heads"]
    if kind is GPT_NEOX:
        put("use_parallel_residual", bool(config.get("use_parallel_residual", True)))
        known = {"rope_theta": config.get("rotary_emb_base"), **{k: v for k, v in config.items() if v is not None}}
        parameters = rotary.parameters_of(known)
        share = parameters.pop("partial_rotary_factor", None) or config.get("rotary_pct") or 0.25
        size = 2 * int(config["hidden_size"] // heads * share / 2)
        put("rope.dimension_count", size)
        return _turned(metadata, parameters, size, config, put, place)
    size = config.get("head_dim") or config["hidden_size"] // heads
    put("attention.head_count_kv", config.get("num_key_value_heads") or heads)
    put("attention.key_length", size)
    put("attention.value_length", size)
    if kind in (LLAMA, MIXTRAL):
        put("rope.dimension_count", size)
    parameters = rotary.parameters_of(config)
    if kind is GEMMA3:
        local = parameters.get("sliding_attention") or {"rope_theta": config.get("rope_local_base_freq", 10_000.0)}
        if local.get("rope_type", "default") != "default":
            raise DataError(f"{place}: rope_parameters", text("one of {choices}", choices="default"), str(local["rope_type"]))
        put("rope.freq_base_swa", float(local["rope_theta"]))
        parameters = parameters.get("full_attention") or parameters
    if kind.name in PATTERNS:
        period = _period(config, PATTERNS[kind.name], place)
        if period != PATTERNS[kind.name]:
            put("attention.sliding_window_pattern", period)
        scalar = config.get("query_pre_attn_scalar", size)
        if scalar != _scalar(kind, config, size):
            raise DataError(f"{place}: query_pre_attn_scalar", str(_scalar(kind, config, size)), str(scalar),
                            rotary.NO_PLACE)  # fmt: skip
    return _turned(metadata, parameters, size, config, put, place)


def _turned(metadata: dict[str, Any], parameters: Values, size: int, config: Values, put: Callable[[str, Any], None],
            place: str) -> tuple[dict[str, Any], Any]:  # fmt: skip
    """The metadata with the rotary settings, and the factors that the file has as a tensor."""
    keys, factors = rotary.described(parameters, size, config["max_position_embeddings"], f"{place}: rope_parameters")
    for key, value in keys.items():
        put(key, value)
    return metadata, factors


def layer_types(layers: int, period: int) -> list[str]:
    return ["full_attention" if (layer + 1) % period == 0 else "sliding_attention" for layer in range(layers)]


def _period(config: Values, usual: int, place: str) -> int:
    given = config.get("layer_types")
    layers = config["num_hidden_layers"]
    for period in (usual, config.get("sliding_window_pattern") or usual, *range(1, layers + 2)):
        if given is None or layer_types(layers, period) == list(given):
            return period
    raise DataError(f"{place}: layer_types", text("full attention in every n-th layer"), ", ".join(map(str, given or ()))[:80],
                    rotary.NO_PLACE)  # fmt: skip


def _scalar(kind: Architecture, config: Values, size: int) -> int:
    unusual = config["num_hidden_layers"] == UNUSUAL[kind.name]
    return config["hidden_size"] // config["num_attention_heads"] if unusual else size


def _refuse(config: Values, kind: Architecture, place: str) -> None:
    for key, values in kind.means.items():
        given = config.get(key, values[0])
        if given not in values and not (key == "sliding_window" and given >= config.get("max_position_embeddings", 0)):
            raise DataError(f"{place}: {key}", text("one of {choices}", choices=", ".join(map(str, values))), str(given),
                            rotary.NO_PLACE)  # fmt: skip
    if kind.model_type == "qwen3_moe" and config.get("mlp_only_layers"):
        given = str(config["mlp_only_layers"])[:80]
        raise DataError(f"{place}: mlp_only_layers", "[]", given, rotary.NO_PLACE)


class _Getter:
    """Settings of a file by their names without the architecture's, each of the type that belongs there."""

    def __init__(self, metadata: Values, kind: Architecture, place: str):
        self.metadata, self.kind, self.place = metadata, kind, place

    def __call__(self, key: str, default: Any) -> Any:
        name = f"{self.kind.name}.{key}"
        value = self.metadata.get(name)
        if value is None:
            if default is REQUIRED:
                raise DataError(self.place, text("a '{key}'", key=name), text("none"))
            return default
        if isinstance(value, list):  # one for each layer
            if len(set(value)) != 1:
                raise DataError(f"{self.place}: {name}", text("the same for every layer"), str(value)[:80])
            value = value[0]
        if ("count" in key or "length" in key) and (type(value) is not int or value < 1):
            raise DataError(f"{self.place}: {name}", text("a number of at least {least}", least=1), str(value)[:40])
        if isinstance(default, float) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise DataError(f"{self.place}: {name}", text("a number"), str(value)[:40])
        if isinstance(value, float):
            return float(str(np.float32(value)))  # 1e-05, and not what 32 bits make of it
        if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < 1 << 31:
            raise DataError(f"{self.place}: {name}", text("a number of at least {least}", least=0), str(value))
        return value

