"""A recipe's trainings before anything has run: each with a real tokenizer, real rows and a real plan, made of a sample.

Where earlier stages have run already (runs/NAME), their own outputs are taken; else the corpus is the sample that `survey`
looked at, split as the whole would be, and the tokenizer is learned from it. All of it lies in a folder that goes away.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.data import content_id
from yanmo.core.errors import DataError, YanmoError
from yanmo.core.execute import share_of_budget
from yanmo.core.fingerprint import settings_of
from yanmo.core.manifest import missing, read_manifest
from yanmo.core.recipe import Entry, Recipe
from yanmo.core.run import Run
from yanmo.core.stage import Input
from yanmo.corpus.split import place

if TYPE_CHECKING:
    from yanmo.train.soundness.finding import Finding, Patient

DOCUMENTS = 400  # whose tokens are counted
WORK = 1e11  # operations that a trial of a training may take: a second or two


@dataclass
class Foreseen:
    """A stage's output."""

    folder: Path
    scale: float = 1.0  # the whole's bytes of text for each of the sample's
    vocabulary: int | None = None  # that the recipe asks for, where a sample supports fewer tokens
    patient: Patient | None = None  # of a training that has not run

    @property
    def sampled(self) -> bool:
        return self.scale != 1.0


@dataclass
class Preview:
    """What the stages so far will give, by their names."""

    recipe: Recipe
    scratch: Path
    run_directory: Path
    console: Console = field(default_factory=lambda: Console(quiet=True))
    stages: dict[str, Foreseen] = field(default_factory=dict)

    def finished(self, entry: Entry) -> bool:
        """Whether the stage has run with these settings."""
        manifest = read_manifest(self.run_directory / entry.name)
        return bool(manifest and manifest["settings"] == settings_of(entry.stage) and manifest["seed"] == self.recipe.seed
                    and not missing(self.run_directory / entry.name, manifest))  # fmt: skip

    def take(self, entry: Entry) -> bool:
        """Takes a finished stage's output as it is."""
        if self.finished(entry):
            self.stages[entry.name] = Foreseen(self.run_directory / entry.name)
            return True
        return False

    # ------------------------------------------------------------------------------------------------ corpus, tokenizer

    def corpus(self, entry: Entry, seen: dict[str, Any]) -> None:
        """The corpus that the stage's `survey` foresees: its kept sample, with the split that the stage would make."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        texts = list(dict.fromkeys(seen["texts"]))
        if len(texts) < 2:
            return  # too little to foresee anything by
        fixed = seen.get("splits") or {}
        share = getattr(entry.stage, "validation", 0.0)
        ids = [content_id(body) for body in texts]
        split = [fixed.get(body) or ("validation" if place(id_) < share * 2**64 else "train") for body, id_ in zip(texts, ids)]
        if share and len(texts) > 1 and "validation" not in split:
            split[min(range(len(ids)), key=lambda i: place(ids[i]))] = "validation"
        order = sorted(range(len(texts)), key=lambda i: ("train", "validation", "test").index(split[i]))
        folder = self.scratch / entry.name
        (folder / "documents").mkdir(parents=True)
        columns = {"id": [ids[i] for i in order], "text": [texts[i] for i in order], "split": [split[i] for i in order],
                   "source": ["sample"] * len(texts), "language": [""] * len(texts)}  # fmt: skip
        schema = pa.schema([(name, pa.string()) for name in columns])
        parquet.write_table(pa.table(columns, schema=schema), folder / "documents" / "0.parquet")
        sizes = {name: sum(len(texts[i].encode()) for i in order if split[i] == name) for name in set(split)}
        files.write_json(folder / "stats.json", {
            "sources": [{"name": "sample", "language": None, "licence": None, "weight": 1.0}],
            "splits": {name: {"bytes": size} for name, size in sizes.items()}})  # fmt: skip
        sampled = max(sum(sizes.values()), 1)
        scale = seen["text_bytes"] / sampled
        self.stages[entry.name] = Foreseen(folder, 1.0 if abs(scale - 1) < 0.02 else scale)

    def tokenizer(self, entry: Entry, links: list[Input]) -> None:
        """A tokenizer of the stage's settings, learned from the sample."""
        from yanmo.corpus import documents
        from yanmo.stages.tokenizer import base_of
        from yanmo.text.bpe import letters
        from yanmo.text.extend import ExtendedTokenizer

        corpus = self._of(links, "corpus")
        if corpus is None:
            return
        part: Any = entry.stage.tokenizer  # type: ignore[attr-defined]
        if isinstance(part, ExtendedTokenizer):
            base = self._of(links, "base")
            if base is None or not base.folder.exists():
                return
            part = part.bind(base_of(Run(self.scratch, stage=entry.name, inputs={"base": [base.folder]})))
        texts = [row["text"] for row in documents.iterate(corpus.folder, "train", columns=("text",))]
        size = round(sum(len(body.encode()) for body in texts) * corpus.scale)
        most = part.open_size(size, self.recipe.budget.minutes if self.recipe.budget else None, letters(texts))
        asked = getattr(part, "size", None) or most
        try:
            made = part.train(iter(texts), at_most=most)
        except DataError:  # a vocabulary too large for a sample may suit the whole
            if not corpus.sampled or getattr(part, "size", None) is None:
                raise
            made = part.model_copy(update={"size": None}).train(iter(texts), at_most=asked)
        folder = self.scratch / entry.name
        made.save(folder)
        larger = asked if corpus.sampled and asked and asked > made.size else None
        self.stages[entry.name] = Foreseen(folder, corpus.scale, larger)

    def tokens(self, entry: Entry, links: list[Input], data: dict[str, Any]) -> dict[str, Any]:
        """How many tokens the corpus will have, and how many documents are longer than common contexts: packed into rows they are
        divided, not cut off."""
        from yanmo.corpus import documents
        from yanmo.text.tokenizer import Tokenizer

        corpus, made = self._of(links, "corpus"), self.stages.get(entry.name)
        seen = next((data[link.stage] for link in links if link.role == "corpus" and link.stage in data), None)
        if corpus is None or made is None or seen is None:
            return {}
        texts = [row["text"] for row in islice(documents.iterate(corpus.folder, columns=("text",)), DOCUMENTS)]
        lengths = [len(ids) for ids in Tokenizer.load(made.folder).encode_batch(texts)]
        size = sum(len(body.encode()) for body in texts)
        return {"tokens": round(sum(lengths) / max(size, 1) * seen["text_bytes"]),
                "bytes_a_token": round(size / max(sum(lengths), 1), 3),
                "longer_than": {str(context): round(sum(n > context for n in lengths) / max(len(lengths), 1), 4)
                                for context in (256, 512, 1024, 4096)}}  # fmt: skip

    def _of(self, links: list[Input], role: str) -> Foreseen | None:
        for link in links:
            if link.role == role:
                return self.stages.get(link.stage) if link.stage else Foreseen(Path(str(link.path)))
        return None

    # ------------------------------------------------------------------------------------------------ trainings

    def patient(self, index: int, entry: Entry, links: list[Input]) -> Patient | None:
        """The training as it would begin; None where what it starts from cannot be foreseen."""
        inputs: dict[str, list[Path]] = {}
        for link in links:
            made = self._of([link], link.role)
            if made is None:
                return None
            inputs[link.role] = [made.folder]
        model = self._of(links, "model")
        from yanmo.train.soundness.finding import Sample

        if not hasattr(entry.stage, "patient") or (model is not None and model.patient is None and not model.folder.exists()):
            return None
        run = Run(self.scratch, self.recipe.seed, self.console, self.recipe.budget, share_of_budget(self.recipe, index, 0.0),
                  entry.name, inputs)  # fmt: skip
        tokenizer, corpus = self._of(links, "tokenizer"), self._of(links, "corpus")
        sample = Sample(corpus.scale if corpus else 1.0, tokenizer.vocabulary if tokenizer else None,
                        model.patient if model else None)  # fmt: skip
        found = entry.stage.patient(run, self.scratch / entry.name, time.monotonic(), sample)
        if found is not None:
            found.folder = self.run_directory / entry.name
            self.stages[entry.name] = Foreseen(self.scratch / entry.name, corpus.scale if corpus else 1.0, None, found)
        return found


def consult(found: Patient) -> tuple[list[Finding], dict[str, Any]]:
    """What the doctor finds in a training that has not begun, and its plan: parameters, memory, seconds, joules."""
    from yanmo.train.soundness import doctor
    from yanmo.train.soundness.finding import DOOMED, Finding
    from yanmo.train.soundness.outlook import outlook

    findings = doctor.examine(found)
    plan: dict[str, Any] = {"steps": found.steps, "parameters": found.plan.get("parameters"), "memory": None, "seconds": None,
                            "joules": None, "energy": "unknown", "settings": {}}  # fmt: skip
    if found.memory is not None:
        plan["parameters"] = found.plan.get("parameters") or found.memory.parameters // 4
        plan["memory"] = found.memory.figures()
    if any(f.verdict == DOOMED and f.examination in ("memory", "tokenizer", "vocabulary") for f in findings):
        return findings, plan  # to make it would take what is not there
    try:
        seen, tried = outlook(found, WORK)
    except YanmoError as error:
        found_out = Finding(DOOMED, error.where, error.expected, error.given, error.remedy, examination="first_pass")
        return [*findings, found_out], plan
    return [*findings, *tried], plan | seen

