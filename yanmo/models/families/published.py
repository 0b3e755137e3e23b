"""What the published Transformers have in common: settings from a config.json, tensors from tables.

A table says what our tensors are called there: `whole` those outside the blocks, `block` those of one block behind the
prefix `layers`, and `encoder_block` with `encoder_layers` those of an encoder-decoder's encoder.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from yanmo.core.errors import DataError, YanmoError
from yanmo.core.messages import text
from yanmo.models.families.family import Family, Names, needs, refuse
from yanmo.models.transformer import Transformer, TransformerModel

BLOCK = re.compile(r"(stack|encoder)\.blocks\.(\d+)\.(.+)")
PLAIN: dict[str, Any] = {
    "architecture": "decoder", "qk_norm": False, "bias": "none", "attention.window": None, "attention.full_every": None,
    "attention.sinks": 0, "attention.softcap": None, "attention.scale": None, "norm_at": "pre", "embedding.scale": False,
    "embedding.norm": False, "embedding.types": 0, "embedding.query": False, "head.transform": False, "head.bias": False,
    "head.softcap": None, "head.scale": None, "head.pooler": False, "head.pairs": False,
}  # a Transformer without any extra; each family says where it differs


def besides(fixed: dict[str, Any], *open_keys: str, **changed: Any) -> dict[str, Any]:
    """`fixed` with other values (`__` for the dot of a key), and without the keys that the family leaves open."""
    changes = {key.replace("__", "."): value for key, value in changed.items()}
    return {key: value for key, value in {**fixed, **changes}.items() if key not in open_keys}


def weighted(table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The table of layers as that of their weights and biases."""
    return {f"{ours}.{kind}": tuple(f"{name}.{kind}" for name in theirs)
            for ours, theirs in table.items() for kind in ("weight", "bias")}  # fmt: skip


class PublishedFamily(Family):
    """A family that is described by tables."""

    needed: ClassVar[tuple[str, ...]]  # keys without which config.json describes nothing
    known: ClassVar[dict[str, tuple[Any, ...]]] = {}  # key → values that we compute, the first what its absence means
    whole: ClassVar[dict[str, tuple[str, ...]]]
    block: ClassVar[dict[str, tuple[str, ...]]]
    layers: ClassVar[str]
    encoder_block: ClassVar[dict[str, tuple[str, ...]]] = {}
    encoder_layers: ClassVar[str] = ""
    whole_heads: ClassVar[bool] = False  # whether each head has keys of its own, and all heads together the model's width

    def fits(self, part: Any) -> bool:
        whole = part.kv_heads == part.heads and part.width == part.heads * part.head_size
        return super().fits(part) and (whole or not self.whole_heads)

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        """The settings of our Transformer that config.json describes."""
        raise NotImplementedError

    def build(self, config: dict[str, Any], place: str, head: bool) -> Transformer:
        needs(config, place, "vocab_size", *self.needed)
        refuse(config, place, self.known)
        try:
            part = TransformerModel(**self.settings(config, place, head))
        except YanmoError:
            raise
        except ValueError as error:
            raise DataError(place, text("sizes that fit together"), " ".join(str(error).split())) from None
        return Transformer(part, config["vocab_size"])

    def blocks(self, model: Transformer) -> dict[str, tuple[str, ...]]:
        """The table of one block, where it depends on the model's sizes."""
        return self.block

    def names(self, model: Transformer) -> Names:
        found: Names = {}
        block = self.blocks(model)
        for ours, _ in model.named_parameters():
            match = BLOCK.fullmatch(ours)
            if match is None:
                found[ours] = self.whole[ours]
            else:
                own = match[1] == "encoder"
                prefix = (self.encoder_layers if own else self.layers).format(match[2])
                found[ours] = tuple(prefix + name for name in (self.encoder_block if own else block)[match[3]])
        return found


def dropout(config: dict[str, Any], *keys: str) -> float:
    """The dropout of ours, or of theirs that ours stands for."""
    given = (config.get("yanmo") or {}).get("dropout")
    return given if given is not None else next((config[key] for key in keys if config.get(key) is not None), 0.0)
