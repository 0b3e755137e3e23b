"""Rotary positions as config.json says them, to ours and back."""

from __future__ import annotations

from typing import Any

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.families.family import needs, refuse
from yanmo.nn.position import RotaryPosition
from yanmo.nn.rope import Scaling

KEYS = {  # theirs → ours, by kind
    "linear": {"factor": "factor"},
    "dynamic": {"factor": "factor"},  # from max_position_embeddings on, whatever else the config says
    "yarn": {"factor": "factor", "original_max_position_embeddings": "trained", "beta_fast": "beta_fast",
             "beta_slow": "beta_slow", "attention_factor": "attention_factor", "truncate": "truncate"},
    "llama3": {"factor": "factor", "original_max_position_embeddings": "trained", "low_freq_factor": "low_freq_factor",
               "high_freq_factor": "high_freq_factor"},
}  # fmt: skip


def position(config: dict[str, Any], place: str, theta: float = 10_000.0) -> RotaryPosition:
    """From `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before); DataError for a kind of scaling
    that we do not compute. `theta`: what the family means where none is given."""
    found = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind: Any = found.get("rope_type") or found.get("type") or "default"
    where = f"{place}: rope_parameters"
    share = found.get("partial_rotary_factor") or config.get("partial_rotary_factor") or config.get("rotary_pct") or 1.0
    scaling = None
    if kind != "default":
        if kind not in KEYS:
            raise DataError(where, text("one of {choices}", choices=", ".join(["default", *KEYS])), str(kind))
        refuse(found, where, {"mscale": (None,), "mscale_all_dim": (None,)})
        needs(found, where, "factor")
        given = {ours: found[theirs] for theirs, ours in KEYS[kind].items() if found.get(theirs) is not None}
        scaling = Scaling(type=kind, **given)
    theta = base(found.get("rope_theta") or config.get("rope_theta") or theta, where)
    return RotaryPosition(theta=theta, share=share, scaling=scaling)


def base(theta: Any, place: str) -> float:
    """The base of the frequencies; DataError for one that gives none."""
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 1 < theta < 1e12:
        raise DataError(f"{place}: rope_theta", text("a number above {limit}", limit=1), str(theta)[:40])
    return theta


def described(part: RotaryPosition, context: int | None) -> dict[str, Any]:
    """The keys of config.json that say the same."""
    parameters: dict[str, Any] = {"rope_type": "default", "rope_theta": part.theta}
    if part.share != 1.0:
        parameters["partial_rotary_factor"] = part.share
    if part.scaling is not None:
        kind = part.scaling.type
        settings = {theirs: getattr(part.scaling, ours) for theirs, ours in KEYS[kind].items()}
        parameters |= {"rope_type": kind, **{key: value for key, value in settings.items() if value is not None}}
        if "original_max_position_embeddings" in KEYS[kind]:
            parameters.setdefault("original_max_position_embeddings", context)
    return {"rope_theta": part.theta, "rope_parameters": parameters}
