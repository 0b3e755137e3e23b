"""A head of ours on a model that only transformers reads: its folder as transformers writes it, and our layer beside.

    config.json         architectures, labels, tokens: YanmoForeignFor…
    model.safetensors   our layer's tensors (and a conditional random field's)
    backbone/           config.json and model.safetensors, as transformers saves and opens them

transformers has no name for the two together (its own heads for such a model are other networks than a linear layer), so that
only we open the folder; `backbone/` is an ordinary one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import text
from yanmo.models.families.family import MADE
from yanmo.models.headed import Headed
from yanmo.models.hf import HuggingFaceFamily, HuggingFaceModel
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.tensors import finite
from yanmo.models.weights.writing import write_tensors

BACKBONE = "backbone"


class ForeignFamily(HuggingFaceFamily):
    """Models with a head over one that transformers reads."""

    model_type: ClassVar[str] = "yanmo_foreign"
    causal: ClassVar[str] = ""
    labels: ClassVar[str] = "YanmoForeignForSequenceClassification"

    def headed(self, ending: str, part: Any) -> bool:
        return True

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        model.backbone.inner.save_pretrained(folder / BACKBONE)
        write_tensors(folder, {name: value.detach().cpu().contiguous() for name, value in self._own(model).items()})
        return {"architectures": [self.called(model.ending)], "model_type": self.model_type, "dtype": "float32",
                "vocab_size": model.backbone.vocabulary}  # fmt: skip

    def read(self, folder: Path, config: dict[str, Any]) -> Any:
        """DataError for a backbone that does not open, an architecture of another kind, and tensors that are not those of the
        config's labels."""
        place = str(folder / "config.json")
        ending = next((end for end in MADE if [self.called(end)] == config.get("architectures")), None)
        if ending is None:
            known = ", ".join(self.called(end) for end in MADE)
            raise DataError(f"{place}: architectures", text("one of {choices}", choices=known), str(config.get("architectures")))
        inside = folder / BACKBONE
        if not (inside / "config.json").is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=f"{BACKBONE}/config.json"))
        try:
            described = files.read_json(inside / "config.json")
        except (ValueError, RecursionError) as error:
            raise CorruptError(str(inside / "config.json"), text("valid JSON"), str(error)) from None
        backbone = super().read(inside, described)
        if not isinstance(backbone, HuggingFaceModel):
            raise DataError(str(inside), text("a language model"), type(backbone).__name__)
        model = self._headed(backbone, config, ending, place)
        found = read_tensors(folder)
        own = self._own(model)
        with torch.no_grad():
            for name, value in own.items():
                given = found.get(name)
                if given is None or given.shape != value.shape or not given.is_floating_point():
                    said = text("none") if given is None else f"{tuple(given.shape)} {given.dtype}"
                    raise DataError(f"{folder}: {name}", text("a tensor of shape {shape}", shape=str(tuple(value.shape))), said)
                value.copy_(finite(given, name, str(folder)))
        strange = sorted(set(found) - set(own))
        if strange:
            raise DataError(str(folder), text("the tensors that config.json describes"), ", ".join(strange[:5]))
        return model

    def _own(self, model: Headed) -> dict[str, torch.nn.Parameter]:
        """What lies beside the backbone, by its name in the file."""
        return {f"{self.layer(model.ending)}.{kind}": p for kind, p in model.head.named_parameters()} | model.beside()
