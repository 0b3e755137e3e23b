"""Which models are at hand for a task: its baselines, small networks from nothing, and the models that lie in folders.

    part      a registered model ('lstm', 'tfidf'), or its settings: '{type: lstm, width: 64}'
    folder    a model directory, a run (each of its models), RUN/STAGE, a GGUF file, or a folder with any of those in it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yanmo.core.config import Part
from yanmo.core.errors import RequestError, nearest
from yanmo.core.messages import text
from yanmo.core.registry import create, lookup, names
from yanmo.models.store import candidates

PLACES = ("runs", "models")  # looked into where nothing is named
DEEP = 4  # folders below a place
PASSED = frozenset({"checkpoints", "tokens", "trials", "answers"})  # folders whose models are steps on the way to another
NETWORKS = {"classify": ("cnn", "lstm", "transformer"), "labels": ("cnn", "lstm", "transformer"), "tag": ("lstm", "transformer"),
            "span": ("lstm", "transformer"), "embed": ("transformer",), "text": ("transformer",),
            "choice": ("transformer",), "prompts": ("transformer",)}  # fmt: skip
WRITING = frozenset({"text", "choice", "prompts"})  # heads of language models; the others' networks read both ways
RATES = {"cnn": 0.01, "lstm": 0.005, "gru": 0.005, "rnn": 0.005, "transformer": 0.002, "bert": 0.002}  # of small ones
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"widths": [1, 2, 3, 4], "dropout": 0.3},
    "lstm": {"depth": 1, "width": 128, "dropout": 0.3},
    "gru": {"depth": 1, "width": 128, "dropout": 0.3},
    "rnn": {"depth": 1, "width": 128, "dropout": 0.3},
    "transformer": {"depth": 2, "width": 128, "heads": 4, "dropout": 0.1, "context": 256},
}


@dataclass(frozen=True)
class Candidate:
    """One model at hand: `part` to start from nothing, or `folder` of one that was trained."""

    name: str
    part: Part | None = None
    folder: Path | None = None

    @property
    def kind(self) -> str:
        """'baseline' (fitted in one go), 'scratch' or 'trained'."""
        if self.part is None:
            return "trained"
        return "baseline" if getattr(self.part, "tasks", ()) else "scratch"

    def unfit(self, task: Any) -> bool:
        """Whether it is a baseline for other tasks."""
        known = getattr(self.part, "tasks", ())
        return bool(known) and task.type not in known

    @property
    def rate(self) -> float | None:
        """The learning rate of a small network from nothing; None: what `finetune` chooses."""
        return None if self.part is None else RATES.get(self.part.type)


def at_hand(task: Any, asked: Sequence[str] | None = None) -> list[Candidate]:
    """The models that `asked` names; else the task's baselines, small networks, and what lies in runs/ and models/ below the
    current folder. RequestError for a name that is neither a part nor a place with a model in it."""
    if asked:
        found = [each for one in asked for each in named(one, task)]
    else:
        baselines = [name for name in names("model") if task.type in getattr(lookup("model", name), "tasks", ())]
        found = [small(name, task.head) for name in (*baselines, *NETWORKS.get(task.head, ()))]
        found += [_of(folder) for place in PLACES if Path(place).is_dir() for folder in below(Path(place))]
    return _apart(found)


def named(one: str, task: Any) -> list[Candidate]:
    """What one name of `--models` stands for."""
    if one.lstrip().startswith("{"):
        part = create("model", settings("--models", one))
        return [Candidate(part.type, part)]
    place = Path(one)
    if one in names("model") and not place.exists():
        return [small(one, task.head)]
    if not place.exists():
        raise RequestError("--models", text("a model's type or a place with models in it"), one, nearest(one, names("model")))
    folders = below(place)
    if not folders:
        raise RequestError("--models", text("a model's type or a place with models in it"),
                           text("no model in {place}", place=one))  # fmt: skip
    return [_of(folder) for folder in folders]


def settings(option: str, written: str) -> dict[str, Any]:
    """{type: …} of a name, or of settings that an option was given in braces; RequestError for what is neither."""
    if not written.lstrip().startswith("{"):
        return {"type": written}
    try:
        given = yaml.safe_load(written)
    except yaml.YAMLError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise RequestError(option, text("a name, or settings such as '{{type: NAME}}'"), written)
    return given


def small(name: str, head: str) -> Candidate:
    """A registered part, as small as a short trial can train."""
    settings = dict(SMALL.get(name, {}))
    if name in ("lstm", "gru", "rnn") and head not in WRITING:
        settings["bidirectional"] = True
    if name == "transformer" and head not in WRITING:
        settings["architecture"] = "encoder"
    return Candidate(name, create("model", {"type": name, **settings}))


def below(place: Path, deep: int = DEEP) -> list[Path]:
    """The model directories and GGUF files of a place, in the order of their names; each once."""
    found = candidates(place)
    if not place.is_dir() or (found and found != [place / found[0].name]):
        return found  # a model itself, or a run's
    found = []  # a single GGUF file of a folder is not all that may be there
    for inside in sorted(place.iterdir()):
        if inside.suffix == ".gguf" and inside.is_file():
            found.append(inside)
        elif inside.is_dir() and deep > 0 and inside.name not in PASSED and not inside.name.startswith("."):
            found += below(inside, deep - 1)
    return found


def _of(folder: Path) -> Candidate:
    """Named after its folder; a stage's `model` and a package's after the folder above."""
    real = folder.resolve()
    name = real.parent.name if real.name in ("model", "adapter") else real.stem if real.suffix == ".gguf" else real.name
    return Candidate(name, folder=folder)


def _apart(found: Sequence[Candidate]) -> list[Candidate]:
    """Each place once; equal names get the folder's path, then a number."""
    kept: dict[str, Candidate] = {}
    places: set[Path] = set()
    for each in found:
        if each.folder is not None and each.folder.resolve() in places:
            continue
        name = each.name if each.name not in kept else str(each.folder or each.name)
        stem, number = name, 2
        while name in kept:
            name, number = f"{stem}-{number}", number + 1
        kept[name] = Candidate(name, each.part, each.folder)
        places |= {each.folder.resolve()} if each.folder is not None else set()
    return list(kept.values())
