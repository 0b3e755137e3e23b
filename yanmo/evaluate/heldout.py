"""The items that models are tested on: a task's own test data, or the held-out documents of the run's corpus."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from yanmo.core.data import Example
from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text
from yanmo.evaluate.runner import Assignment
from yanmo.tasks.base import Task
from yanmo.tasks.language_modeling import LanguageModeling

SPLIT = "validation"
OPENING = 24  # characters of a document that serve as a prompt


def assignments(tasks: Sequence[Task], corpus: Path | None, stage: str, without: Collection[str] = ()) -> list[Assignment]:
    """Each task with its items; a second task of a type is called type-2. `without`: ids of held-out documents that are left
    out."""
    found: list[Assignment] = []
    for index, task in enumerate(tasks):
        number = sum(other.type == task.type for other in tasks[:index]) + 1
        kind = task.type.rpartition(":")[2]  # of a part of nobody's, 'pkg.mod:Class', the class
        name = kind if number == 1 else f"{kind}-{number}"
        if isinstance(task, LanguageModeling) and task.path is None:
            if corpus is None:
                wanted = text("a path to text, or a corpus stage before this one")
                raise RequestError(f"{stage}.tasks.{index}.path", wanted, text("neither"))
            examples = [example for example in documents(corpus) if example.id not in without]
            if not examples:
                raise DataError(str(corpus), text("held-out documents"), text("none"), text("give the corpus more text"))
        else:
            examples = task.load("test")
            if not examples:
                remedy = text("set 'test' above 0, or give a path for it")
                raise DataError(f"{stage}.tasks.{index}", text("test data"), text("none"), remedy)
        found.append(Assignment(name, task, examples))
    return found


def documents(corpus: Path, split: str = SPLIT) -> Iterator[Example]:
    """The documents of one split of a corpus stage's folder, in the corpus's order."""
    from yanmo.corpus.documents import iterate

    for row in iterate(corpus, split, columns=("id", "text", "source", "language")):
        if row["text"]:
            yield Example(row["id"], {name: row[name] or "" for name in ("text", "source", "language")}, row["id"])


def openings(prompts: Sequence[str], given: Sequence[Assignment]) -> list[str]:
    """Those of the default prompts (English, Chinese) whose script the held-out text is written in; where it is written in
    neither, the beginning of its first document. All of them where there is no such text."""
    texts = [example.fields["text"] for item in given if item.task.head in ("language", "pairs") for example in item.examples]
    if not texts:
        return list(prompts)
    sample = "".join(content[:2000] for content in texts[:: max(1, len(texts) // 1000)])
    letters = [c for c in sample if c.isalpha()]
    han = sum("\u3400" <= c <= "\u9fff" for c in letters) / max(len(letters), 1)
    latin = sum(c.isascii() for c in letters) / max(len(letters), 1)
    kept = [prompt for prompt in prompts if (latin if prompt.isascii() else han) > 0.05]
    return kept or [texts[0][:OPENING]]
