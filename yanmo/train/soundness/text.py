"""The text of a pretraining: is there enough of it, is what is held out really held out, do its tokens fit the model?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.corpus.tokens import Split
from yanmo.train.soundness.finding import DOOMED, SOUND, WARN, Finding, Patient

GRAM = 16  # tokens: a stretch that two texts share by chance only where both quote
LIKE = 0.8  # of a document's stretches: it stands there too, but for a few words
SOME, MOST = 0.05, 0.5  # of the held-out tokens
HELD_OUT, SCANNED = 1 << 20, 1 << 25  # tokens that are looked at, at most
UNUSED = 0.9  # of the vocabulary
UNKNOWN_SOME, UNKNOWN_MOST = 0.02, 0.2


def enough(patient: Patient) -> Iterator[Finding]:
    """At least one whole row to train on."""
    if patient.split is None or patient.context is None:
        return
    have, row = patient.text_tokens, patient.objective.stretch(patient.context)
    figures = {"tokens": have, "context": patient.context, "batch_tokens": patient.plan["batch_tokens"]}
    where = f"{patient.where}.objective.context"
    if have < row:
        yield Finding(DOOMED, where, text("at most the {count} tokens of the training text", count=have), str(patient.context),
                      text("lower the context, or train on more text"), figures)  # fmt: skip
    elif have < patient.plan["batch_tokens"]:
        yield Finding(WARN, f"{patient.where}.train.batch_tokens",
                      text("at most the {count} tokens of the training text", count=have), str(patient.plan["batch_tokens"]),
                      text("a step sees the same row more than once: lower it"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def held_out(patient: Patient) -> Iterator[Finding]:
    """Something to validate on, and enough of it to decide by."""
    if patient.held_out is None:
        return
    asked = [name for name in ("patience", "validate_every") if getattr(patient.train, name)]
    count, need = len(patient.held_out), patient.context or 0
    figures = {"tokens": count, "context": need}
    if patient.sampled:
        count = max(count, 1)  # whether a sample's few documents hold enough says little
    if not count:
        remedy = text("raise the corpus's 'validation', or leave out 'patience' and 'validate_every'")
        if not asked:
            remedy = text("raise the corpus's 'validation': without it the last weights are kept, good or bad")
        yield Finding(DOOMED if asked else WARN, patient.corpus, text("text in the validation split"), text("none"), remedy,
                      figures, kind=DataError)  # fmt: skip
    elif count < need and not patient.sampled:
        yield Finding(DOOMED if patient.train.patience else WARN, patient.corpus,
                      text("a validation split of at least one row of {context} tokens", context=need),
                      text("{count} tokens", count=count), text("raise the corpus's 'validation', or lower the context"),
                      figures)  # fmt: skip
    else:
        yield Finding(SOUND, patient.corpus, figures=figures)


def vocabulary(patient: Patient) -> Iterator[Finding]:
    """Ids that the model has, most of which occur, few of which stand for what the tokenizer does not know."""
    if patient.split is None or not len(patient.split):
        return
    tokens = patient.split.tokens[: SCANNED * 4]
    counts = np.bincount(tokens, minlength=patient.size)
    where = f"{patient.where}.tokenizer"
    if len(counts) > patient.size:
        yield Finding(DOOMED, where, text("token ids from 0 to {last}", last=patient.size - 1), str(len(counts) - 1),
                      text("the text was tokenized for another model: make the tokens again"),
                      {"largest": len(counts) - 1})  # fmt: skip
        return
    longer = patient.tokenizer.byte_lengths[: patient.size] > 1  # single bytes are there for texts to come
    unused = float((counts[: patient.size] == 0)[longer].mean()) if longer.any() and not patient.sampled else 0.0
    unknown = patient.tokenizer.unk_id
    share = float(counts[unknown] / len(tokens)) if unknown is not None else 0.0
    figures = {"size": patient.size, "unused": round(unused, 4), "unknown": round(share, 5)}
    if share > UNKNOWN_SOME:
        yield Finding(DOOMED if share > UNKNOWN_MOST else WARN, where, text("a tokenizer that knows the text"),
                      text("{share} of the tokens are unknown to it", share=f"{share:.0%}"),
                      text("train the tokenizer on this text, or use one with bytes (bpe)"), figures)  # fmt: skip
    elif unused > UNUSED:
        yield Finding(WARN, where, text("a vocabulary that the text uses"),
                      text("{share} of its {size} longer pieces never occur", share=f"{unused:.0%}", size=int(longer.sum())),
                      text("a smaller vocabulary leaves more of the model for the rest"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def overlap(patient: Patient) -> Iterator[Finding]:
    """Held-out documents that also stand in the training text: whole, or but for a few words."""
    if patient.split is None or not patient.held_out or not len(patient.held_out):
        return
    unknown = patient.tokenizer.unk_id
    if unknown is not None and float((patient.split.tokens[:SCANNED] == unknown).mean()) > UNKNOWN_MOST:
        return  # all texts look alike to it, which `vocabulary` says
    found = shared(patient.split, patient.held_out)
    share = max(found["exact"], found["near"])
    if share > SOME:
        verdict = DOOMED if found["exact"] > MOST else WARN  # forms and verse repeat themselves, and are no copies
        yield Finding(verdict, patient.corpus, text("held-out text that is not trained on"),
                      text("{share} of it also stands in the training text (first: {first})", share=f"{share:.0%}",
                           first=found["first"]),
                      text("add 'exact_dedup' and 'minhash_dedup' to the corpus's steps, or see to the files of 'validation'"),
                      found)  # fmt: skip
    else:
        yield Finding(SOUND, patient.corpus, figures=found)


def shared(train: Split, held_out: Split) -> dict[str, Any]:
    """The shares of the held-out tokens whose documents stand in the training text whole, and nearly (exact ones included)."""
    chosen: list[int] = []
    total = 0
    for index, count in enumerate(held_out.documents["count"].tolist()):
        if total + count > HELD_OUT and chosen:
            break
        chosen.append(index)
        total += count
    wanted: dict[bytes, list[int]] = {}
    sizes = set()
    for index in chosen:
        body = _body(held_out, index)
        wanted.setdefault(xxhash.xxh3_128_digest(body.tobytes()), []).append(index)
        sizes.add(len(body))
    alike = np.flatnonzero(np.isin(train.documents["count"] - 1, list(sizes)))
    exact = {i for index in alike.tolist() for i in wanted.get(xxhash.xxh3_128_digest(_body(train, index).tobytes()), [])}
    grams = [(index, _grams(_body(held_out, index))) for index in chosen]
    known = np.unique(np.concatenate([found for _, found in grams])) if grams else np.zeros(0, np.uint64)
    seen = np.zeros(len(known), bool)
    for start in range(0, min(len(train.tokens), SCANNED), 1 << 20):
        there = _grams(train.tokens[start : start + (1 << 20) + GRAM - 1])
        place = np.searchsorted(known, there).clip(max=max(len(known) - 1, 0))
        if len(known):
            seen[place[known[place] == there]] = True
    near = set(exact)
    for index, found in grams:
        if len(found) and float(seen[np.searchsorted(known, found)].mean()) >= LIKE:
            near.add(index)
    counts, ids = held_out.documents["count"], held_out.documents["id"]
    size = max(int(counts[chosen].sum()), 1)
    first = min(near, default=None)
    return {"documents": len(chosen), "exact": round(sum(int(counts[i]) for i in exact) / size, 4),
            "near": round(sum(int(counts[i]) for i in near) / size, 4),
            "first": str(ids[first]) if first is not None else None}  # fmt: skip


def _body(split: Split, index: int) -> NDArray[Any]:
    """A document's tokens without its border."""
    first, count = int(split.documents["first"][index]), int(split.documents["count"][index])
    return np.asarray(split.tokens[first + 1 : first + count])


def _grams(tokens: NDArray[Any]) -> NDArray[np.uint64]:
    """A hash of each stretch of GRAM tokens, (N - GRAM + 1,): a polynomial modulo 2^64, mixed."""
    if len(tokens) < GRAM:
        return np.zeros(0, np.uint64)
    ids = np.asarray(tokens, np.uint64) + np.uint64(1)
    found = np.zeros(len(ids) - GRAM + 1, np.uint64)
    for place in range(GRAM):
        found = found * np.uint64(0x9E3779B97F4A7C15) + ids[place : place + len(found)]
        found ^= found >> np.uint64(29)
    return found
