"""The mixing stage: an earlier network and n-grams counted from the same corpus, as one model.

    mix/model/        the mixture: network/, counted/ and the gate between them
        mixing.json   what each of them and both together find of the text that the gate was fitted to, and the ids of that
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from yanmo.core import files
from yanmo.core.config import PartOf
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.corpus.mixture import Mixing


class MixStage(Stage):
    """Lets an earlier network and counted n-grams answer together, far better than either after a short training."""

    takes: ClassVar[tuple[str, ...]] = ("corpus", "tokenizer", "model")
    gives: ClassVar[str] = "model"

    type: str = "mix"
    corpus: str | None = None  # an earlier stage or a path; None: the nearest earlier one
    tokenizer: str | None = None  # the network's
    model: str | None = None  # the network
    counted: Annotated[Any, PartOf("model")] = Field(default_factory=lambda: create("model", "ngram"))
    tokens: int = Field(default=50_000, gt=0)  # of the validation documents that the gate is fitted to, half of them at most
    mixture: Mixing | None = None  # of the corpus's sources; None: as their weights say

    def needs(self, text_bytes: int) -> float:
        """The counts, and a network's pass over the text held back: about 8 s for 10.9 MB (two cores)."""
        return 3 + 0.5e-6 * text_bytes

    def check(self) -> None:
        if self.counted.type != "ngram":
            raise RequestError("mix.counted", text("an n-gram model"), self.counted.type)

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.corpus.tokens import for_run
        from yanmo.models.store import load, save
        from yanmo.stages.mixing import fitted
        from yanmo.text.tokenizer import Tokenizer

        self.check()
        loaded = load(run.take("model"))
        tokenizer = Tokenizer.load(run.take("tokenizer"))
        if not loaded.generates or not loaded.model.trainable:
            raise RequestError(f"{run.stage}.model", text("a trained language model"), str(loaded.config.get("model_type")))
        if loaded.tokenizer is None or loaded.tokenizer.identity() != tokenizer.identity():
            raise RequestError(f"{run.stage}.tokenizer", text("the tokenizer that the model was trained with"),
                               str(run.take("tokenizer")), text("name its stage with 'tokenizer:'"))  # fmt: skip
        shards = for_run(run, run.take("corpus"), run.take("tokenizer"))
        split = shards.split("train")
        with run.console.bar(run.stage, self.counted.order, "orders") as bar:
            stream = split.weighted(self.mixture)
            model, figures = fitted(loaded.model, self.counted, split, shards.split("validation"), stream, tokenizer, folder,
                                    self.tokens, run.seed_for("gate"), bar.advance)  # fmt: skip
        shown = ", ".join(f"{name} {nats:.3f}" for name, nats in figures["nats_a_token"].items())
        run.console.log(text("{stage}: nats a token on {tokens} tokens held back: {figures}", stage=run.stage,
                             tokens=figures["tokens"], figures=shown))  # fmt: skip
        save(folder / "model", model, tokenizer)
        files.write_json(folder / "mixing.json", figures)
        return {"model": "model", "mixing": "mixing.json"}
