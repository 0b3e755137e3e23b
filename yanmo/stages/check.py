"""`yanmo check`: is a recipe valid, is its data there and sound, what would run? Nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yanmo.core.config import Settings
from yanmo.core.errors import YanmoError
from yanmo.core.execute import inputs_of
from yanmo.core.recipe import Recipe, load


def check(path: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """{"ok", "problems": [line], "plan": {"stages", "parameters", "memory_bytes", "seconds", "joules"}}.

    What is not known before a probe (seconds without a budget, energy) is null, never a guess in disguise.
    """
    problems: list[str] = []
    try:
        recipe = load(path, overrides)
    except YanmoError as error:
        return {"ok": False, "problems": [str(error)], "plan": _plan(None, [])}
    stages = []
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
        except YanmoError as error:
            problems.append(f"{entry.name}: {error}")
        stages.append({"name": entry.name, "what": what})
    return {"ok": not problems, "problems": problems, "plan": _plan(recipe, stages)}


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
