"""Yanmo (研墨): raw text in, a working language model out, and a record from every answer back to the text.

    import yanmo
    yanmo.run("recipe.yaml")
    model = yanmo.load("runs/stories")
    model.generate("Once upon a time")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core.package import VERSION as __version__

if TYPE_CHECKING:
    from yanmo.inference.model import Model

__all__ = ["__version__", "load", "run"]


def run(recipe: str | Path, *overrides: str, run_dir: str | Path | None = None, until: str | None = None,
        redo: list[str] | None = None, quiet: bool = False) -> dict[str, Any]:  # fmt: skip
    """Runs a recipe's unfinished stages: {"run_dir": path, "stages": {name: "ran" | "skipped"}}."""
    from yanmo.core.console import Console
    from yanmo.core.execute import run_recipe

    return run_recipe(recipe, list(overrides), run_dir, until=until, redo=redo, console=Console(quiet))


def load(path: str | Path | Sequence[str | Path], trust_code: bool = False, samples: int | None = None) -> Model:
    """A run (its last model), RUN/STAGE, a model directory or a GGUF file, ready to generate, predict and score; several of them
    answer together, their probabilities averaged. `trust_code`: run the code that a Hugging Face model brings with it. `samples`:
    draw so many models from the posterior that a variational optimizer left, and average them."""
    from yanmo.inference.model import Model

    return Model.open(path, trust_code=trust_code, samples=samples)
