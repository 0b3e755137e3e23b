"""The learning rate of fine-tuning where the recipe has none, by what is trained.

    from nothing; an LSTM or a convolution; a model of the same run    1e-3
    a Transformer that comes from elsewhere                            5e-5 at width 768, in inverse proportion to the width
    an adapter (LoRA) beside it                                        ten times as much
    a soft prompt                                                      1e-3
    none above                                                         1e-3

Published encoders are tuned at 2e-5 to 5e-5 (Devlin et al. 2019, appendix A.3: BERT, width 768 and 1024), narrower ones at more
(Clark et al. 2020, table 7: ELECTRA at 3e-4, 1e-4 and 5e-5 for widths of 256, 768 and 1024; Turc et al. 2019 try 3e-5 to 3e-4 for
widths of 128 to 768). LoRA learns at 2e-4 to 5e-4 at width 768 to 1024 (Hu et al. 2021, tables 9 and 11), about ten times the
rate of full tuning (Schulman et al. 2025, "LoRA Without Regret"). A model that the run itself has trained is as a rule small
and far from where it would settle, and learns like one that begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yanmo.core.config import Part
from yanmo.core.messages import Text, text
from yanmo.core.registry import create

if TYPE_CHECKING:
    from yanmo.core.run import Run
    from yanmo.stages.finetune import FinetuneStage

FRESH = 1e-3
PUBLISHED, WIDTH = 5e-5, 768
BESIDE = 10.0  # times that of full tuning, for an adapter's pairs of matrices


def optimizer_of(run: Run, stage: FinetuneStage, model: Any) -> Any:
    """The recipe's optimizer, AdamW unless it names another; AdamW's rate filled in where the recipe has none."""
    given: Any = stage.train.optim or create("optimizer", "adamw")
    if given.type != "adamw" or given.lr is not None:
        return given
    return given.model_copy(update={"lr": default(from_elsewhere(run, stage, model), model.width or WIDTH, stage.adapter)})


def default(elsewhere: bool, width: int, adapter: Any = None) -> float:
    """The rate for a Transformer of this width; `elsewhere`: that came trained."""
    if not elsewhere or (adapter is not None and adapter.type != "lora"):
        return FRESH
    return float(f"{min(PUBLISHED * WIDTH / width * (1.0 if adapter is None else BESIDE), FRESH):.2g}")


def from_elsewhere(run: Run, stage: FinetuneStage, model: Any) -> bool:
    """Whether what is tuned is a Transformer that this run has not trained itself."""
    from yanmo.models.adapter import backbone_of
    from yanmo.models.hf import HuggingFaceModel
    from yanmo.models.store import resolve
    from yanmo.models.transformer import Transformer

    if isinstance(stage.model, Part) or not isinstance(backbone_of(model), Transformer | HuggingFaceModel):
        return False
    return not resolve(run.take("model")).resolve().is_relative_to(run.directory.resolve())


def said(run: Run, stage: FinetuneStage, plan: dict[str, Any]) -> Text | None:
    """The line about the rate; None for an optimizer with several."""
    rate, optim = plan["optimizer"].get("lr"), stage.train.optim
    if rate is None:
        return None
    if optim is not None and getattr(optim, "lr", None) is not None:
        return text("{stage}: learning rate {rate}, as the recipe has it", stage=run.stage, rate=f"{rate:g}")
    return text("{stage}: learning rate {rate}, chosen for such a model (train.optim.lr sets another)", stage=run.stage,
                rate=f"{rate:g}")  # fmt: skip
