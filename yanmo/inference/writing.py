"""Many answers at a time, to a task's examples or to any requests: the likeliest tokens through the engine, drawn ones, or beams;
in the order of the requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core import files
from yanmo.core.data import Example
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import lookup
from yanmo.inference.asking import asked
from yanmo.inference.beam import PENALTY, BeamSearch
from yanmo.inference.engine import Completion, Engine, Request
from yanmo.inference.memory import Memory, Near
from yanmo.models.base import LanguageModel, Loaded
from yanmo.models.writer import TextWriter
from yanmo.tasks.writing import Choice, WritingTask
from yanmo.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from yanmo.inference.guidance import Wish

SLOTS = 32  # requests that are answered at one time
STORAGE = 2**30  # bytes that their state takes at most, unless one takes more


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote for an example, in `tokens`; `cut` tokens of the example's text did not fit into the prompt. `near`: of
    what it remembered meanwhile, the most similar training pairs."""

    text: str
    tokens: int
    cut: int
    ended: bool
    near: tuple[Near, ...] = ()

    @property
    def beside(self) -> dict[str, Any]:
        """What else is to be said of the answer, as plain data: what was cut off, an end that was not reached, training pairs."""
        said = {"cut": self.cut, "unfinished": not self.ended, "near": [asdict(pair) for pair in self.near]}
        return {name: value for name, value in said.items() if value}


def answered(loaded: Loaded, task: WritingTask, examples: Sequence[Example], temperature: float = 0.0, seed: int | None = None,
             wish: Callable[[Example], Wish] | None = None) -> list[Written]:  # fmt: skip
    """An answer to each example by the task's settings, made of those to its pieces. `wish`: a guide's, where one is followed."""
    assert loaded.tokenizer is not None
    pieces = [task.pieces(example) for example in examples]
    every = [piece for some in pieces for piece in some]
    requests, cuts = asked(loaded, task, every, temperature, seed)
    if wish is not None:
        requests = [replace(request, wish=wish(piece)) for request, piece in zip(requests, every)]
    if temperature:
        completions = written(loaded.model, loaded.tokenizer, requests)
    else:
        completions = searched(loaded, task, requests, [piece.fields.get("text", "") for piece in every])
    memory = None if temperature else _memory(loaded, task)
    said = iter(zip(completions, cuts, strict=True))
    found = []
    for some in pieces:
        own = list(islice(said, len(some)))
        found.append(Written(
            task.joined([completion.text.strip() for completion, _ in own]), sum(len(completion.tokens) for completion, _ in own),
            sum(cut for _, cut in own), all(completion.finish == "stop" for completion, _ in own),
            () if memory is None else memory.near([piece.fields["text"] for piece in some]),
        ))  # fmt: skip
    return found


def task_of(loaded: Loaded) -> WritingTask | None:
    """The task that a stage of a run tuned the model for, where that is one whose answers to texts are written."""
    folder = loaded.folder
    place = next((p / "manifest.json" for p in (folder, *folder.parents[:2]) if (p / "manifest.json").is_file()), None)
    settings = None if place is None else files.read_json(place)["settings"].get("task")
    if not isinstance(settings, dict):
        return None
    part = lookup("task", settings["type"])
    if not issubclass(part, WritingTask) or not part.of_texts:
        return None
    return part(**{name: value for name, value in settings.items() if name in part.model_fields})


def written_about(loaded: Loaded, task: WritingTask, texts: Sequence[str], temperature: float = 0.0,
                  seed: int | None = None) -> list[Written]:  # fmt: skip
    """What a model or a baseline writes about each text, by the settings of the task that it was made for."""
    if isinstance(loaded.model, TextWriter):
        return [Written(said.strip(), 0, 0, ended=True) for said in loaded.model.write(texts)]
    return answered(loaded, task, [Example("", {"text": content}, "") for content in texts], temperature, seed)


def searched(loaded: Loaded, task: WritingTask, requests: Sequence[Request], texts: Sequence[str]) -> list[Completion]:
    """The likeliest answer to each request about a text, as the task has it: by its beams, by what is remembered (memory.py), and
    of what the beams end with the one with the best

        ln p(answer | text) / lp(n)  +  channel · ln p(text | answer) / lp(m)        for n and m tokens (beam.py: lp)

    (Yee et al. 2019, arXiv:1908.05731, equation 4, each side by the search's own length penalty)."""
    from yanmo.models.channel import FILE, Channel
    from yanmo.models.nearest import KNOWN

    assert loaded.tokenizer is not None
    choice = task.choice
    if choice == Choice():
        return written(loaded.model, loaded.tokenizer, requests, task.beams, task.length_penalty)
    for name, setting, file in (("channel", choice.channel, FILE), ("memory", choice.memory, KNOWN)):
        if setting and not (loaded.folder / file).is_file():
            raise RequestError(f"task.{name}", text("a model that was tuned with it"),
                               text("no {file} in {folder}", file=file, folder=str(loaded.folder)),
                               text("leave out '{name}', or tune the model with it", name=name))  # fmt: skip
    if choice.channel and "channel" not in loaded.beside:
        loaded.beside["channel"] = Channel.load(loaded.folder, loaded.tokenizer)
    memory = _memory(loaded, task)
    recall = None if memory is None else lambda number: memory.recollection(texts[number], choice.memory)
    penalty = PENALTY if task.length_penalty is None else task.length_penalty
    search = BeamSearch(loaded.model, loaded.tokenizer, task.beams, best=task.beams if choice.channel else 1, penalty=penalty)
    found = []
    for content, own in zip(texts, search.answers(requests, recall), strict=True):
        worth = []
        for answer, completion in ((answer, search.completion(answer)) for answer in own):
            explained, size = loaded.beside["channel"].logprob(content, completion.text) if choice.channel else (0.0, 1)
            worth.append((answer.score + choice.channel * explained / search.divisor(size), completion))
        found.append(max(worth, key=lambda item: item[0])[1])
    return found


def _memory(loaded: Loaded, task: WritingTask) -> Memory | None:
    """What the task has a model remember, opened once."""
    from yanmo.models.nearest import NearestWriter, load

    if not task.choice.memory:
        return None
    asks = ("memory", task.template, task.chat)
    if asks not in loaded.beside:
        loaded.beside[asks] = Memory(loaded, task, NearestWriter(load(loaded.folder), "characters"))
    return loaded.beside[asks]


def written(model: LanguageModel, tokenizer: Tokenizer, requests: Sequence[Request], beams: int = 1,
            penalty: float | None = None, slots: int | None = None) -> list[Completion]:  # fmt: skip
    """An answer to each request, which none of the others changes (to the rounding of float32 products). `slots`: how many are
    answered at one time, by default what memory allows."""
    if not requests:
        return []
    if beams > 1:
        return BeamSearch(model, tokenizer, beams, penalty=PENALTY if penalty is None else penalty).complete(requests)
    asked = [len(request.ids) + (request.sampling.max_tokens or 0) for request in requests]
    bounded = all(request.sampling.max_tokens is not None for request in requests)
    capacity = min([max(asked), *([model.context] if model.context else [])]) if bounded else None
    room = slots or _slots(model, capacity or model.context or 1, len(requests))
    return Engine(model, tokenizer, slots=room, capacity=capacity).complete(requests)


def _slots(model: LanguageModel, capacity: int, requests: int) -> int:
    spec = model.state().values()
    each = sum(s.dtype.itemsize * torch.Size(s.shape).numel() * (capacity + 1 if s.per_token else 1) for s in spec)
    return max(1, min(SLOTS, requests, STORAGE // max(each, 1)))
