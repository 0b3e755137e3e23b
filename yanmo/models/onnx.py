"""An encoder, or a classifier made of one, as an ONNX graph: model.onnx beside config.json and the tokenizer.

    input_ids (B, T) int64 · attention_mask (B, T) int64, 1 where there is a token, padding on the right
    → logits (B, T, V) of a masked model, (B, labels) of a classifier; last_hidden_state (B, T, D) of an encoder without a head
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core import files
from yanmo.core.errors import DataError
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, Loaded
from yanmo.models.classifier import Classifier
from yanmo.models.gguf.architectures import EXPORTED

FILE = "model.onnx"
OPSET = 20


class Graph(nn.Module):
    """The model with ONNX's arguments."""

    def __init__(self, model: Any, output: str):
        super().__init__()
        self.model, self.output = model, output

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        inputs = Inputs(input_ids, mask=attention_mask.bool())
        if isinstance(self.model, Classifier):
            return self.model(inputs)
        return self.model.encode(inputs) if self.output == "last_hidden_state" else self.model(inputs).logits


def write(loaded: Loaded, folder: Path) -> None:
    """model.onnx, config.json and the tokenizer in `folder`. DataError for a model that is no encoder."""
    needed("onnxscript", "models", "export")
    model = loaded.model
    backbone = model.backbone if isinstance(model, Classifier) else model
    part = getattr(backbone, "part", None)
    if not isinstance(backbone, LanguageModel) or getattr(part, "architecture", "") != "encoder":
        kind = str(loaded.config.get("model_type"))
        raise DataError(str(loaded.folder), text("an encoder, or a classifier made of one"), kind,
                        text("--to hf or --to gguf") if kind in EXPORTED else text("--to {format}", format="hf"))  # fmt: skip
    settings: Any = part
    headless = not isinstance(model, Classifier) and not settings.head.transform and not settings.head.bias
    output = "last_hidden_state" if headless else "logits"
    length = min(6, backbone.context or 6)
    tokens = torch.ones(2, length, dtype=torch.int64)
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, length // 2 :] = 0
    axes: Any = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=backbone.context)}
    with _silence():
        program = torch.onnx.export(Graph(model.eval(), output), (tokens, mask), dynamo=True, opset_version=OPSET, verbose=False,
                                    input_names=["input_ids", "attention_mask"], output_names=[output],
                                    dynamic_shapes={"input_ids": axes, "attention_mask": axes})  # fmt: skip
        assert program is not None
        program.save(folder / FILE, external_data=False)
    files.write_json(folder / "config.json", {key: value for key, value in loaded.config.items() if key != "yanmo"})
    if loaded.tokenizer is not None:
        loaded.tokenizer.save(folder)


@contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's remarks on libraries that are not there and on its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def run(folder: Path, rows: list[list[int]]) -> list[Tensor]:
    """What onnxruntime makes of each row: (T, …), or (1, labels) of a classifier. The rows go in as one padded batch, so that
    the mask is tried too."""
    runtime = needed("onnxruntime", "models", "export")
    session = runtime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    (found,) = session.run(None, {"input_ids": tokens.numpy(), "attention_mask": mask.numpy()})
    values = torch.from_numpy(found)
    return [value[: len(row)] if values.ndim == 3 else value[None] for value, row in zip(values, rows)]
