"""One contestant of benchmarks/corpus.py, alive in a process of its own; it runs a case when told to.

    python corpus_contestant.py yanmo|datatrove FOLDER en|zh     on stdin: a case a line; on stdout: JSON lines

Each case runs over the same documents (FOLDER, as corpus_pages.py wrote it) and answers {"seconds": processor time of this
process and of its children, "count", "kept": [did the filter keep it?]}. Files of a peer's environment are imported only
for that peer.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.corpus_pages import archive, many
from benchmarks.corpus_thresholds import settings

Answer = dict[str, Any]
MANY = 4000  # documents of the case `clusters`, whose cost is in the passes over all of them


def used(over: bool = False) -> float:
    """Processor seconds of this process, of its children that have ended, and of every descendant that is alive. What it takes
    to look at these is left out between a call and a later one with `over`."""
    own = _own()
    about: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            ticks = sum(map(int, fields[11:15]))  # its own, and its ended children's
            about[int(path.parent.name)] = (int(fields[1]), ticks / os.sysconf("SC_CLK_TCK"))
    known, total = {os.getpid()}, 0.0
    while fresh := {pid for pid, (parent, _) in about.items() if parent in known} - known:
        total += sum(about[pid][1] for pid in fresh)
        known |= fresh
    return total + (own if over else _own())


def _own() -> float:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def bodies(folder: Path) -> list[str]:
    with open(folder / "docs" / "docs.jsonl", encoding="utf-8") as handle:
        return [json.loads(line)["text"] for line in handle]


# ------------------------------------------------------------------------------------------------ ours

ORDER = ["language", "repair", "gopher_repetition", "gopher_quality", "c4", "fineweb", "pii"]


def steps(language: str) -> dict[str, dict[str, Any]]:
    """What both do. C4's words stand between blanks, so that of Chinese those of its rules are off that look at words."""
    same = {"language": language}
    bare = {"min_words_per_line": None, "max_word_length": None} if language == "zh" else {}
    return {
        "language": {"type": "language", "keep": [language], "min_score": 0.65},
        "repair": {"type": "repair"},
        "gopher_repetition": {"type": "gopher_repetition", **same},
        "gopher_quality": {"type": "gopher_quality", **same},
        "c4": {"type": "c4_quality", **same, "terminal_punctuation": False, **bare},
        "fineweb": {"type": "fineweb_quality", **same},
        "pii": {"type": "pii"},
    }


class Yanmo:
    def __init__(self, folder: Path, language: str):
        from yanmo.core.registry import create

        self.folder, self.bodies, self.language = folder, bodies(folder), language
        self.settings = steps(language)
        self.steps = {name: create("step", settings) for name, settings in self.settings.items()}
        self.create = create

    def documents(self) -> list[Any]:
        from yanmo.core.data import Document, Origin

        return [
            Document(f"{i:032x}", body, Origin("docs.jsonl", None, i, i + 1), "docs", order=i)
            for i, body in enumerate(self.bodies)
        ]

    def step(self, name: str) -> Answer:
        docs = self.documents()
        started = used()
        for _ in self.steps[name].rows(iter(docs)):
            pass
        return {"seconds": used(over=True) - started, "count": len(docs), "kept": [doc.rejection is None for doc in docs]}

    def text_side(self) -> Answer:
        docs = self.documents()
        minhash = self.create("step", {"type": "minhash_dedup"})
        started = used()
        rows: Iterator[Any] = iter(docs)
        for name in ORDER:
            rows = self.steps[name].rows(rows)
        for _ in minhash.sign(rows):
            pass
        return {"seconds": used(over=True) - started, "count": len(docs)}

    def minhash(self) -> Answer:
        docs, step = self.documents(), self.create("step", {"type": "minhash_dedup"})
        started = used()
        for _ in step.sign(iter(docs)):
            pass
        return {"seconds": used(over=True) - started, "count": len(docs)}

    def clusters(self, write: bool = False) -> Answer:
        """From signatures to what becomes of each document, on the disk; `write`: to deduplicated documents in Parquet."""
        from yanmo.core.console import Console
        from yanmo.corpus import split, writer
        from yanmo.corpus.engines.local import LocalEngine

        step, bodies = self.create("step", {"type": "minhash_dedup"}), many(MANY, language=self.language)
        with (
            tempfile.TemporaryDirectory() as name,
            LocalEngine(workers=1).session(Path(name) / "parts", Console(quiet=True)) as session,
        ):
            path = Path(name) / "many.jsonl"
            path.write_text("".join(json.dumps({"text": body}) + "\n" for body in bodies), encoding="utf-8")
            source = self.create("source", {"type": "jsonl", "path": str(path), "language": self.language})
            docs = session.read([source]).persist()
            for _ in docs.map(step.sign).persist().collect():  # the step finds these signatures again
                pass
            started = used()
            rows = step.apply(docs).collect()
            first = next(rows)  # what was found is stored; the documents are where they were
            if write:
                writer.write(Path(name) / "corpus", chain([first], rows), [source], split.Split(0.05))
            return {"seconds": used(over=True) - started, "count": len(bodies)}

    def warc(self, extract: str) -> Answer:
        source = self.create("source", {"type": "warc", "path": str(self.folder / "warc" / "pages.warc.gz"), "extract": extract})
        started, count = used(), 0
        for shard in source.shards():
            for doc in source.read(shard):
                count += doc.rejection is None
        return {"seconds": used(over=True) - started, "count": count}

    def scaled(self, extract: str, engine: dict[str, Any]) -> Answer:
        path = self.folder / "many.warc.gz"
        if not path.exists():
            archive(path, many(MANY, language=self.language), self.language)
        return self.whole(extract, engine, path)

    def whole(self, extract: str, engine: dict[str, Any], path: Path | None = None) -> Answer:
        """WARC to deduplicated Parquet by a recipe."""
        import time

        from yanmo.core.config import Place
        from yanmo.core.console import Console
        from yanmo.core.execute import execute
        from yanmo.core.recipe import parse

        stage = {"source": {"type": "warc", "path": str(path or self.folder / "warc" / "pages.warc.gz"), "extract": extract},
                 "steps": [*self.settings.values(), {"type": "minhash_dedup"}], "engine": engine}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            started, wall = used(), time.perf_counter()
            execute(
                parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), Path(folder) / "run", console=Console(quiet=True)
            )
            seconds, wall = used(over=True) - started, time.perf_counter() - wall
            stats = json.loads((Path(folder) / "run" / "corpus" / "stats.json").read_text())
        return {"seconds": seconds, "wall": wall, "count": stats["in"], "kept_count": stats["kept"]}

    def cases(self) -> dict[str, Callable[[], Answer]]:
        found: dict[str, Callable[[], Answer]] = {name: lambda name=name: self.step(name) for name in ORDER}
        found |= {"minhash": self.minhash, "clusters": self.clusters, "text_side": self.text_side}
        found |= {
            "deduplicated": lambda: self.clusters(write=True),
            "warc": lambda: self.warc("raw"),
            "extract_quality": lambda: self.warc("quality"),
            "extract_fast": lambda: self.warc("fast"),
        }
        for tier in ("quality", "fast"):
            found[f"whole_{tier}_1"] = lambda t=tier: self.whole(t, {"type": "local", "workers": 1})
        for workers in (1, 2):
            for tier in ("quality", "fast"):
                found[f"scaled_{tier}_{workers}"] = lambda t=tier, w=workers: self.scaled(t, {"type": "local", "workers": w})
        found["scaled_quality_spark"] = lambda: self.scaled("quality", {"type": "spark", "master": "local[2]"})
        return found


# ------------------------------------------------------------------------------------------------ datatrove


def kept_in(folder: str) -> int:
    import pyarrow.parquet as parquet

    return sum(parquet.read_metadata(path).num_rows for path in Path(folder, "out").rglob("*.parquet"))


class Datatrove:
    def __init__(self, folder: Path, language: str):
        import datatrove.utils.lid as lid

        model = next(
            path for entry in os.environ["LANGUAGE_MODEL"].split(os.pathsep) for path in Path(entry).rglob("lid.176.ftz")
        )
        lid.cached_asset_path_or_download = lambda *_, **__: str(model)  # the model that we use too, and no network
        self.folder, self.bodies, self.language = folder, bodies(folder), language
        self.filters: dict[str, Any] = {}
        self.signed: tempfile.TemporaryDirectory[str] | None = None

    def made(self) -> dict[str, Any]:
        from datatrove.pipeline.filters import (
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
            LanguageFilter,
        )
        from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter

        own = settings(self.language)
        return {"language": LanguageFilter(languages=self.language), "repair": FTFYFormatter(),
                "gopher_repetition": GopherRepetitionFilter(**own["gopher_repetition"]),
                "gopher_quality": GopherQualityFilter(**own["gopher_quality"]),
                "c4": C4QualityFilter(filter_no_terminal_punct=False, **own["c4"]),
                "fineweb": FineWebQualityFilter(**own["fineweb_quality"]), "pii": PIIFormatter()}  # fmt: skip

    def documents(self, bodies: list[str] | None = None) -> list[Any]:
        from datatrove.data import Document

        return [Document(text=body, id=str(i)) for i, body in enumerate(bodies or self.bodies)]

    def step(self, name: str) -> Answer:
        self.filters = self.filters or self.made()
        docs, block, kept = self.documents(), self.filters[name], []
        if hasattr(block, "filter"):
            block.filter(docs[0])  # its model or tokenizer is loaded
            docs = self.documents()
        started = used()
        for doc in docs:
            if hasattr(block, "filter"):
                result = block.filter(doc)
                kept.append(bool(result[0] if isinstance(result, tuple) else result))
            else:
                doc.text = block.format(doc.text)
                kept.append(True)
        return {"seconds": used(over=True) - started, "count": len(docs), "kept": kept}

    def signature(self, folder: str) -> Any:
        from datatrove.pipeline.dedup import MinhashDedupSignature

        return MinhashDedupSignature(output_folder=folder, **settings(self.language)["minhash"])

    def minhash(self) -> Answer:
        with tempfile.TemporaryDirectory() as folder:
            block = self.signature(folder)
            block.get_shingles("warm it up, please, with a few words")
            docs = self.documents()
            started = used()
            block.run(iter(docs))
            return {"seconds": used(over=True) - started, "count": len(docs)}

    def clusters(self, write: bool = False) -> Answer:
        """From signatures to the list of those that go; `write`: to deduplicated documents in Parquet."""
        from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
        from datatrove.pipeline.readers import JsonlReader
        from datatrove.pipeline.writers import JsonlWriter, ParquetWriter

        if self.signed is None:
            self.signed = tempfile.TemporaryDirectory()
            self.signature(f"{self.signed.name}/signatures").run(iter(self.documents(many(MANY, language=self.language))))
            list(JsonlWriter(f"{self.signed.name}/docs").run(iter(self.documents(many(MANY, language=self.language)))) or ())
        with tempfile.TemporaryDirectory() as folder:
            started = used()
            self.run("buckets", folder, [MinhashDedupBuckets(f"{self.signed.name}/signatures", f"{folder}/buckets")], 14)
            self.run("clusters", folder, [MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove")])
            if write:
                self.run("filter", folder, [JsonlReader(f"{self.signed.name}/docs"), MinhashDedupFilter(f"{folder}/remove"),
                                            ParquetWriter(f"{folder}/out")])  # fmt: skip
            return {"seconds": used(over=True) - started, "count": MANY}

    def run(self, name: str, folder: str, pipeline: list[Any], tasks: int = 1) -> None:
        from datatrove.executor import LocalPipelineExecutor

        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{folder}/logs/{name}").run()

    def text_side(self) -> Answer:
        self.filters = self.filters or self.made()
        with tempfile.TemporaryDirectory() as folder:
            docs, last = self.documents(), self.signature(folder)
            started = used()
            rows: Any = iter(docs)
            for name in ORDER:
                rows = self.filters[name].run(rows)
            last.run(rows)
            return {"seconds": used(over=True) - started, "count": len(docs)}

    def reader(self) -> Any:
        from datatrove.pipeline.readers import WarcReader

        return WarcReader(str(self.folder / "warc"), glob_pattern="*.warc.gz")

    def warc(self) -> Answer:
        started = used()
        count = sum(1 for _ in self.reader().run())
        return {"seconds": used(over=True) - started, "count": count}

    def extract(self) -> Answer:
        from datatrove.pipeline.extractors import Trafilatura

        docs = list(self.reader().run())
        started = used()
        count = sum(1 for _ in Trafilatura(timeout=10).run(iter(docs)))
        return {"seconds": used(over=True) - started, "count": count}

    def whole(self) -> Answer:
        import time

        from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
        from datatrove.pipeline.extractors import Trafilatura
        from datatrove.pipeline.readers import JsonlReader
        from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        with tempfile.TemporaryDirectory() as folder:
            started, wall = used(), time.perf_counter()
            self.run(
                "base", folder, [self.reader(), Trafilatura(timeout=10), *self.made().values(), JsonlWriter(f"{folder}/base")]
            )
            load_word_tokenizer.cache_clear()  # its executor copies the blocks, and a tokenizer with jieba in it cannot be
            self.run("sign", folder, [JsonlReader(f"{folder}/base"), self.signature(f"{folder}/signatures")])
            self.run("buckets", folder, [MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets")], 14)
            self.run("clusters", folder, [MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove")])
            self.run(
                "filter",
                folder,
                [JsonlReader(f"{folder}/base"), MinhashDedupFilter(f"{folder}/remove"), ParquetWriter(f"{folder}/out")],
            )
            return {
                "seconds": used(over=True) - started,
                "wall": time.perf_counter() - wall,
                "count": len(self.bodies),
                "kept_count": kept_in(folder),
            }

    def cases(self) -> dict[str, Callable[[], Answer]]:
        found: dict[str, Callable[[], Answer]] = {name: lambda name=name: self.step(name) for name in ORDER}
        return found | {"minhash": self.minhash, "clusters": self.clusters, "text_side": self.text_side, "warc": self.warc,
                        "deduplicated": lambda: self.clusters(write=True), "extract_quality": self.extract,
                        "whole_quality_1": self.whole}  # fmt: skip


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a peer prints is not an answer
    contestant: Any = {"yanmo": Yanmo, "datatrove": Datatrove}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    cases = contestant.cases()
    print(json.dumps({"cases": list(cases)}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(cases[line.strip()]()), file=answers, flush=True)


if __name__ == "__main__":
    main()
