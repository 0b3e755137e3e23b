"""`yanmo check`: is a recipe valid, is its data there and sound, what would run? Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from yanmo.core.config import Settings
from yanmo.core.errors import YanmoError
from yanmo.core.execute import inputs_of
from yanmo.core.messages import text
from yanmo.core.recipe import Recipe, load
from yanmo.core.stage import Stage


def check(path: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """{"ok", "problems": [line], "plan": {"stages", "parameters", "memory_bytes", "seconds", "joules"}, "data", "tokens"}.

    `data` is what a sample of each corpus shows (`corpus/survey.py`), `tokens` what each tokenizer would make of it. What is
    not known before a probe (seconds of a training without a budget) is null, never a guess in disguise.
    """
    problems: list[str] = []
    try:
        recipe = load(path, overrides)
    except YanmoError as error:
        return {"ok": False, "problems": [str(error)], "plan": _plan(None, []), "data": {}, "tokens": {}}
    stages = []
    data: dict[str, Any] = {}
    tokens: dict[str, Any] = {}
    texts: list[str] = []
    for index, entry in enumerate(recipe.stages):
        what = entry.stage.type
        try:
            links = inputs_of(index, recipe, Path("runs") / recipe.name)
            what += "".join(f" ← {link.stage or link.path}" for link in links)
            found = entry.stage.files()
            if found:
                size = sum(Path(p).stat().st_size for p in found)
                what += f" · {len(found)} file(s), {size / 1e6:.1f} MB"
            entry.stage.check()
            seen = entry.stage.survey()
            if seen:
                texts = seen.pop("texts")
                data[entry.name] = seen
            elif data and texts:
                made = _tokens(entry.stage, texts, data[next(reversed(data))])
                tokens |= {entry.name: made} if made else {}
        except YanmoError as error:
            problems.append(f"{entry.name}: {error}")
        stages.append({"name": entry.name, "what": what})
    return {"ok": not problems, "problems": problems, "plan": _plan(recipe, stages), "data": data, "tokens": tokens}


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    for stage in report["plan"]["stages"]:
        yield f"{stage['name']:<16} {stage['what']}"
    for name, corpus in report["data"].items():
        yield ""
        for source in corpus["sources"]:
            yield str(text("{corpus}: {source} ({type}): about {documents} documents, {size} MB of text; looked at {sampled}",
                           corpus=name, source=source["name"], type=source["type"], documents=f"{source['documents']:,}",
                           size=f"{source['text_bytes'] / 1e6:,.1f}", sampled=source["sampled"]))  # fmt: skip
            fields = ", ".join(f"{key} ({kind})" for key, kind in source["fields"].items())
            yield "  " + str(text("fields: {fields}", fields=fields or "-"))
            yield "  " + str(text("encodings: {encodings}; languages: {languages}", encodings=_shown(source["encodings"]),
                                  languages=_shown(source["languages"])))  # fmt: skip
            yield "  " + str(text("in the sample: {exact} exact duplicates, {near} near-duplicates; quarantined: {broken}",
                                  exact=f"{source['exact_duplicates']:.1%}", near=f"{source['near_duplicates']:.1%}",
                                  broken=_counted(source["quarantined"]) or "0"))  # fmt: skip
        yield "  " + str(text("the steps keep {kept}: about {documents} documents, {size} MB of text",
                              kept=f"{corpus['kept']:.1%}", documents=f"{corpus['documents']:,}",
                              size=f"{corpus['text_bytes'] / 1e6:,.1f}"))  # fmt: skip
        if corpus["dropped"]:
            yield "  " + str(text("and drop: {reasons}", reasons=_shown(corpus["dropped"])))
        yield "  " + str(text("about {seconds} s and {disk} MB on the disk", seconds=f"{corpus['seconds']:,.0f}",
                              disk=f"{corpus['disk_bytes'] / 1e6:,.1f}"))  # fmt: skip
    for name, found in report["tokens"].items():
        longer = ", ".join(f"{context}: {share:.1%}" for context, share in found["longer_than"].items())
        yield str(text("{name}: about {tokens} tokens, {bytes} bytes each; documents longer than a context of {longer}",
                       name=name, tokens=f"{found['tokens']:,}", bytes=found["bytes_a_token"], longer=longer))  # fmt: skip
    for problem in report["problems"]:
        yield f"! {problem}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _shown(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items()) or "-"


def _tokens(stage: Stage, texts: list[str], corpus: dict[str, Any]) -> dict[str, Any]:
    """How many tokens the corpus will have, by a tokenizer of the stage's settings trained on the sample, and how many
    documents are longer than common contexts: packed into rows they are divided, not cut off."""
    part = getattr(stage, "tokenizer", None)
    if stage.gives != "tokenizer" or part is None:
        return {}
    sample = list(islice(texts, 400))
    try:
        tokenizer = part.train(iter(sample))
    except YanmoError:  # a vocabulary too large for a sample may suit the whole
        return {}
    lengths = [len(ids) for ids in tokenizer.encode_batch(sample)]
    size = sum(len(body.encode()) for body in sample)
    return {"tokens": round(sum(lengths) / max(size, 1) * corpus["text_bytes"]),
            "bytes_a_token": round(size / max(sum(lengths), 1), 3),
            "longer_than": {str(context): round(sum(n > context for n in lengths) / len(lengths), 4)
                            for context in (256, 512, 1024, 4096)}}  # fmt: skip


def _plan(recipe: Recipe | None, stages: list[dict[str, str]]) -> dict[str, Any]:
    parameters: int | None = None
    vocabulary: int | None = None
    for entry in recipe.stages if recipe else ():
        if entry.stage.gives == "tokenizer":
            vocabulary = getattr(getattr(entry.stage, "tokenizer", None), "size", None)
        model = getattr(entry.stage, "model", None)
        count = getattr(model, "parameters", None) if isinstance(model, Settings) else None
        if callable(count) and vocabulary and (getattr(model, "depth", None) or getattr(model, "width", None)):
            parameters = max(parameters or 0, count(vocabulary))
    seconds = recipe.budget.minutes * 60 if recipe and recipe.budget else None
    # parameters, gradients, two optimizer moments in fp32; activations are found by the stage's probe
    memory = parameters * 16 if parameters else None
    return {"stages": stages, "parameters": parameters, "memory_bytes": memory, "seconds": seconds, "joules": None}
