"""The corpus stage: sources and steps become documents, with a split, an account of what was dropped, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from yanmo.core import files
from yanmo.core.config import PartOf
from yanmo.core.energy import Meter
from yanmo.core.errors import DataError
from yanmo.core.manifest import BEGUN
from yanmo.core.messages import text
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.corpus import split
from yanmo.corpus.dataset import Engine
from yanmo.corpus.engines.local import LocalEngine, cores
from yanmo.corpus.source import Source
from yanmo.corpus.step import Step, apply

PARTS = "parts"  # the folder of what lies between the steps


class CorpusStage(Stage):
    """`validation`: the fraction of documents held out, by the hash of their content. `keep_parts`: the documents between
    the steps stay on the disk (about the size of the corpus), so that after a change only what depends on it is redone."""

    type: str = "corpus"
    source: Annotated[Source | list[Source], PartOf("source")]
    steps: Annotated[list[Step], PartOf("step")] = Field(default_factory=list)
    engine: Annotated[Engine, PartOf("engine")] = LocalEngine()
    validation: float = Field(default=0.05, ge=0, lt=1)
    keep_parts: bool = True

    gives: ClassVar[str] = "corpus"
    execution: ClassVar[frozenset[str]] = frozenset({"engine", "keep_parts"})
    keeps: ClassVar[tuple[str, ...]] = (PARTS,)

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [source.name for source in self.sources()]
        if not names:
            raise ValueError(str(text("at least one source")))
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(str(text("a name of its own for each source (add 'name:' to one '{name}')", name=twice[0])))
        return self

    def sources(self) -> list[Source]:
        return list(self.source) if isinstance(self.source, list | tuple) else [self.source]

    def _parts(self) -> list[Source | Step]:
        return [*self.sources(), *self.steps]

    def files(self) -> list[Path]:
        """The sources' files, after a look at each source: a field that no row has stops the run before it begins."""
        found = [path for part in self._parts() for path in part.files()]
        self.check()
        return list(dict.fromkeys(found))

    def check(self) -> None:
        self.engine.check()
        for part in reversed(self._parts()):  # what a step lacks is found faster than what a source lacks
            part.check()

    def survey(self) -> dict[str, Any]:
        from yanmo.corpus.survey import survey

        return survey(self.sources(), self.steps, getattr(self.engine, "workers", None) or cores())

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.corpus import writer
        from yanmo.corpus.account import unbroken
        from yanmo.corpus.copies.recall import measured
        from yanmo.corpus.page import with_cost

        sources, work = self.sources(), folder / PARTS
        begun = files.read_json(folder / BEGUN)["sources"]
        files.write_json(work / "inputs.json", {source["path"]: source["sha256"] for source in begun})
        meter = Meter()
        with self.engine.session(work, run.console) as session:
            docs = session.read(sources)
            if any(source.costly for source in sources):
                docs = docs.persist()  # so that another step does not mean another extraction
            docs = apply(self.steps, docs).persist()
            chosen = split.decide(docs, self.validation, sources)
            stats = writer.write(folder, unbroken(docs.collect()), sources, chosen, self.steps)
            session.sweep()
        if not stats["kept"]:
            reasons = {**stats["quarantined"], **stats["dropped"]}
            shown = ", ".join(f"{name} {count}" for name, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))[:4])
            raise DataError(run.stage, text("at least one document that is kept"),
                            text("{count} read, all dropped or quarantined ({reasons})", count=stats["in"], reasons=shown),
                            text("loosen the steps, or see that fields and encoding fit the data"))  # fmt: skip
        decontamination = measured(self.steps, folder)
        if decontamination:
            files.write_json(folder / "decontamination.json", decontamination)
        if not self.keep_parts:
            files.remove(work)
        cost, card = meter.read(), folder / "corpus.html"
        files.write_json(folder / "cost.json", cost)  # neither it nor the card that shows it is an output: see Stage.run
        files.write_text(card, with_cost(card.read_text(encoding="utf-8"), cost))
        run.console.log(text("corpus: {read} read, {kept} kept", read=stats["in"], kept=stats["kept"]))
        names = {"corpus": "documents", "stats": "stats.json", "dropped": "dropped", "quarantined": "quarantined",
                 "decontamination": "decontamination.json"}  # fmt: skip
        return {name: place for name, place in names.items() if (folder / place).exists()}
