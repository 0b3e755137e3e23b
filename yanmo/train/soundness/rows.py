"""The rows as the objective collates them: is anything trained on, and is the end of a text among it?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from yanmo.core.messages import text
from yanmo.train.soundness.finding import DOOMED, SOUND, WARN, Finding, Patient

BATCHES = 4  # steps whose rows are looked at
ROWS = 256
LOST = 0.5


def trained(patient: Patient) -> Iterator[Finding]:
    """Rows without a trained token, and how often the end of a text is a target, beside other tokens (a prefix trains on what
    is behind it): a model that never saw one never stops."""
    if patient.batches is None:
        return
    rows = nothing = targets = weighed = ends = taught = 0
    cursor, border = (0, 0), patient.tokenizer.eos_id
    for step in range(BATCHES):
        made, cursor = patient.batches.take(cursor, torch.Generator().manual_seed(step))
        for batch in made:
            if batch.targets is None or batch.weights is None:
                return  # rows with a label each: all are trained on
            real = torch.ones_like(batch.weights, dtype=torch.bool) if batch.inputs.mask is None else batch.inputs.mask
            if real.shape != batch.weights.shape:  # what is read and what is written are of different lengths
                real = batch.weights > 0
            on = (batch.weights > 0) & real
            rows, nothing = rows + len(on), nothing + int((~on.any(1)).sum())
            targets, weighed = targets + int(real.sum()), weighed + int(on.sum())
            end = (batch.targets == border) & real
            ends, taught = ends + int(end.sum()), taught + int((end & on).sum())
        if rows >= ROWS:
            break
    share = nothing / max(rows, 1)
    figures = {"rows": rows, "without": nothing, "trained": round(weighed / max(targets, 1), 4), "ends": ends,
               "ends_trained": round(taught / ends, 4) if ends else None}  # fmt: skip
    where = f"{patient.where}.objective"
    if nothing:
        yield Finding(DOOMED if share > LOST else WARN, where, text("rows with a token to train on"),
                      text("{count} of {rows} rows have none", count=nothing, rows=rows),
                      text("see what the objective masks, or raise its context"), figures)  # fmt: skip
    elif ends and taught / ends < LOST * weighed / targets and {"causal", "prefix"} & set(patient.objective.kinds or ("causal",)):
        yield Finding(DOOMED, where, text("the end of a text among what is trained"),
                      text("{count} of {all} ends are: the model would never stop", count=taught, all=ends),
                      text("mask padding by its place, not by its id: the end of a text may have the same"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)
