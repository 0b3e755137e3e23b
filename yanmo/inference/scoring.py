"""How well any model of language knows texts: by likelihood, or, where it reads from both sides, by pseudo-likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from yanmo.core.messages import Text, text
from yanmo.inference import conditional, likelihood, pseudo_likelihood
from yanmo.inference.likelihood import Likelihood
from yanmo.models.base import LanguageModel, Loaded

By = Literal["likelihood", "pseudo-likelihood", "likelihood behind a gap"]
POSITIONS = 1 << 21  # that pseudo-likelihood reads of a set of texts, about: beyond that every n-th token stands for all
WINDOW = 256  # and in windows of so many tokens at most


class Scored(NamedTuple):
    likelihood: Likelihood
    by: By
    every: int = 1  # of how many tokens one was scored


def unable(loaded: Loaded) -> Text | None:
    """Why a model cannot score texts, or None."""
    if not isinstance(loaded.model, LanguageModel) or loaded.labels:
        return text("it labels texts and gives no probability to text")
    if loaded.tokenizer is None:
        return text("it has no tokenizer")
    if loaded.model.kind == "masked" and loaded.tokenizer.mask_id is None:
        return text("its tokenizer has no special token to mask with")
    bare = str((loaded.config.get("architectures") or [""])[0]).endswith("Model")  # BertModel, such as sentence encoders are
    if loaded.model.kind == "masked" and bare and not (loaded.config.get("yanmo") or {}).get("objective"):
        return text("it was saved without the head that predicts tokens")
    return None


def score(loaded: Loaded, texts: Sequence[str], *, whole: bool = False) -> Scored:
    """-ln p of each text, or what stands for it. `whole`: every token of every text is scored, whatever it costs."""
    assert loaded.tokenizer is not None
    model, tokenizer = loaded.model, loaded.tokenizer
    if model.kind == "masked":
        tokens = sum(len(ids) for ids in tokenizer.encode_batch(texts))
        window = min(model.context or WINDOW, WINDOW)
        every = 1 if whole else max(1, -(-tokens * window // POSITIONS))
        found = pseudo_likelihood.score_documents(model, tokenizer, texts, every=every, context=None if whole else window)
        return Scored(found, "pseudo-likelihood", every)
    if model.kind == "encoder-decoder":
        objective = (loaded.config.get("yanmo") or {}).get("objective")
        spans = objective == "span_corruption" if objective else loaded.config.get("model_type") in ("t5", "mt5")
        return Scored(conditional.score_documents(model, tokenizer, texts, spans=spans), "likelihood behind a gap")
    return Scored(likelihood.score_documents(model, tokenizer, texts), "likelihood")
