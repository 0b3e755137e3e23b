"""Rotary positions and their scalings, as GGUF says them and as config.json does.

Linear and YaRN are settings in both. Llama 3's is settings in config.json and, in the file, a tensor: by how much each
frequency is divided; the settings are found again by trying which give that tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yanmo.core.errors import DataError
from yanmo.core.messages import text

Array = NDArray[Any]
NO_PLACE = text("the format has no place for it")
KINDS = ("default", "linear", "yarn", "llama3")
YARN = {"beta_fast": 32.0, "beta_slow": 1.0}
TENSOR = "rope_freqs.weight"
THETA = {"mixtral": 1_000_000.0, "gemma3_text": 1_000_000.0}  # where config.json gives none


def parameters_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before), as the former."""
    given = {"rope_theta": config.get("rope_theta"), **(config.get("rope_scaling") or {})}
    given |= config.get("rope_parameters") or {}
    if "type" in given:
        given.setdefault("rope_type", given.pop("type"))
    if given.get("rope_theta") is None:
        given["rope_theta"] = THETA.get(str(config.get("model_type")), 10_000.0)
    if "partial_rotary_factor" in config:
        given.setdefault("partial_rotary_factor", config["partial_rotary_factor"])
    return given


def described(parameters: Mapping[str, Any], size: int, context: int, place: str) -> tuple[dict[str, Any], Array | None]:
    """The file's settings without the architecture's name, and its factors (size / 2,) where it needs them."""
    kind = parameters.get("rope_type") or "default"
    if kind not in KINDS:
        raise DataError(place, text("one of {choices}", choices=", ".join(KINDS)), str(kind), NO_PLACE)
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise DataError(f"{place}: partial_rotary_factor", "1.0", str(parameters["partial_rotary_factor"]),
                        NO_PLACE)  # fmt: skip
    keys: dict[str, Any] = {"rope.freq_base": float(parameters["rope_theta"])}
    if kind == "default":
        return keys, None
    factor = float(parameters["factor"])
    trained = parameters.get("original_max_position_embeddings") or context
    if kind == "llama3":
        low, high = float(parameters["low_freq_factor"]), float(parameters["high_freq_factor"])
        return keys, llama3(keys["rope.freq_base"], size, factor, low, high, trained)
    keys |= {"rope.scaling.type": kind, "rope.scaling.factor": factor}
    if kind == "yarn":
        usual = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
        given = parameters.get("attention_factor") or usual
        if not math.isclose(given, usual, rel_tol=1e-6):
            raise DataError(f"{place}: attention_factor", f"{usual:.6f}", str(given), NO_PLACE)
        if parameters.get("truncate") is False:
            raise DataError(f"{place}: truncate", "true", "false", NO_PLACE)
        keys["rope.scaling.original_context_length"] = trained
        for name, value in YARN.items():
            if (given := parameters.get(name)) is not None and given != value:
                keys[f"rope.scaling.yarn_{name}"] = float(given)
    return keys, None


def published(get: Callable[[str, Any], Any], context: int, size: int, factors: Array | None) -> dict[str, Any]:
    """`rope_parameters` of what the file says. `get(key, default)` reads a setting of it."""
    place = f"{getattr(get, 'place', '')}: rope.scaling"
    theta = float(get("rope.freq_base", 10_000.0))
    kind = get("rope.scaling.type", "none")
    factor = float(get("rope.scaling.factor", 0.0) or get("rope.scale_linear", 1.0))
    if factors is not None:
        found = _llama3_settings(theta, size, np.asarray(factors, np.float64))
        if found is None or kind not in ("none", "linear") or factor != 1.0:
            raise DataError(place, text("the factors of Llama 3's scaling in {name}", name=TENSOR), text("others"))
        return {"rope_type": "llama3", "rope_theta": theta, **found}
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {"rope_type": "default", "rope_theta": theta}
    if kind == "linear":
        return {"rope_type": "linear", "rope_theta": theta, "factor": factor}
    if kind != "yarn" or get("rope.scaling.attn_factor", 1.0) != 1.0:
        raise DataError(place, text("one of {choices}", choices="none, linear, yarn"), str(kind))
    betas = {name: get(f"rope.scaling.yarn_{name}", value) for name, value in YARN.items()}
    trained = get("rope.scaling.original_context_length", context)
    return {"rope_type": "yarn", "rope_theta": theta, "factor": factor, "original_max_position_embeddings": trained, **betas}


def llama3(theta: float, size: int, factor: float, low: float, high: float, trained: int) -> Array:
    """By how much each of size / 2 frequencies is divided: those that turn less than `low` times in the `trained` context by
    `factor`, those that turn more than `high` times by 1, between them in between (Dubey et al. 2024, arXiv:2407.21783)."""
    turns = trained / (2 * math.pi) * theta ** (-np.arange(0, size, 2) / size)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - blend) / factor + blend)).astype(np.float32)


def _llama3_settings(theta: float, size: int, factors: Array) -> dict[str, Any] | None:
    """The published settings that give these factors: those of every released model, for any power of two of context."""
    factor, low, high = float(str(np.float32(factors.max(initial=1)))), 1.0, 4.0
    for trained in (1 << bits for bits in range(5, 21)):
        if factors.shape == (size // 2,) and np.allclose(llama3(theta, size, factor, low, high, trained), factors, rtol=1e-4):
            return {"factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                    "original_max_position_embeddings": trained}  # fmt: skip
    return None
