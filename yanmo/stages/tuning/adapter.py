"""Fine-tuning with an adapter: what is trained, and what is saved.

    finetune/adapter/    the adapter alone, in PEFT's layout, with the head and the tokenizer
             model/      the adapter merged into its base, an ordinary model; its logits were compared with the adapted one's
                         (not where there is nothing to merge: a soft prompt is opened from its own folder)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core.config import dump_part
from yanmo.core.messages import Text, text

if TYPE_CHECKING:
    from yanmo.core.run import Run
    from yanmo.text.tokenizer import Tokenizer


def counted(model: Any) -> dict[str, int]:
    """How many numbers the model has, and how many of them are trained."""
    from yanmo.models.adapter import shelved
    from yanmo.nn.four import FourLinear

    trained = sum(p.numel() for p in model.parameters())
    kept = {tensor.data_ptr(): tensor.numel() for tensor in shelved(model)}
    packed = sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, FourLinear))
    return {"parameters": trained + sum(kept.values()) + packed, "trained_parameters": trained}


def said(stage: str, plan: dict[str, Any]) -> Text:
    share = f"{plan['trained_parameters'] / plan['parameters']:.2%}"
    return text("{stage}: {trained} of {all} parameters are trained ({share})", stage=stage, trained=plan["trained_parameters"],
                all=plan["parameters"], share=share)  # fmt: skip


def base_of(run: Run, folder: Path, given: Any) -> str:
    """How the adapter names its base: from its own folder on where that is part of the run, else as the recipe does."""
    from yanmo.models.store import resolve

    found = resolve(run.take("model")).resolve()
    if found.is_relative_to(run.directory.resolve()):
        return Path(os.path.relpath(found, (folder / "adapter").resolve())).as_posix()
    return Path(given).as_posix() if isinstance(given, str) else found.as_posix()


def save(run: Run, folder: Path, part: Any, model: Any, base: str, tokenizer: Tokenizer, labels: list[str],
         extra: dict[str, Any] | None) -> dict[str, str]:  # fmt: skip
    """Saves the adapter, then the merged model; returns the stage's outputs."""
    from yanmo.models import store
    from yanmo.models.adapter import FOLDER

    part.save(folder / FOLDER, model, base, tokenizer, labels)
    if not part.merges:
        return {"model": FOLDER}
    whole = part.finished(model)
    run.console.log(text("{stage}: merged into its base, with the adapted model's logits", stage=run.stage))
    store.save(folder / "model", whole, tokenizer, labels=labels, extra={**(extra or {}), "adapter": dump_part(part)})
    return {"model": "model", "adapter": FOLDER}
