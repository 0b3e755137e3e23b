"""lm-evaluation-harness (EleutherAI) on our models: its tasks, its prompts and its figures, answered in process or by our server.

    run("runs/stories", ["arc_easy"])                            the last model of the run that writes
    run("http://127.0.0.1:8000", ["mine.yaml"], name="gpt")      a model that `yanmo serve` (or an alike) serves

The harness asks three things of a model: ln p of continuations, ln p of whole texts, and texts that go on until a stop. In
process they come from the very functions that our own evaluation calls, so that a task posed alike has the same figures in
both. A served
model is asked over /tokenize and /v1/completions with token ids, the border before each text; the harness's own client for such
servers (`local-completions`) leaves the border out, which is another likelihood.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from yanmo.core.errors import RequestError, nearest
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.inference.continuations import Continued, seam

if TYPE_CHECKING:
    from yanmo.inference.model import Model

NEW = 256  # tokens that are written at most, where a task does not say
BATCH = 16  # prompts in one request to a server
SECONDS = 300  # that a server may take for one


class Speaker(Protocol):
    """What answers the harness."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Continued]:
        """ln p of each continuation after its context."""

    def whole(self, texts: Sequence[str]) -> list[float]:
        """ln p of each text as a document."""

    def write(self, prompts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        """What each prompt is gone on with: max_tokens, temperature, top_p, stop, seed."""


class Opened:
    """A model in this process."""

    def __init__(self, model: Model):
        from yanmo.inference import continuations

        reason = continuations.unable(model.loaded)
        if reason is not None:
            raise RequestError(model.where, text("a model that can {what}", what=text("give texts a probability")), reason)
        self.loaded = model.loaded

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Continued]:
        from yanmo.inference.continuations import score_texts

        unique = list(dict.fromkeys(pairs))
        found = dict(zip(unique, score_texts(self.loaded, unique)))
        return [found[pair] for pair in pairs]

    def whole(self, texts: Sequence[str]) -> list[float]:
        from yanmo.inference.scoring import score

        return [-float(nats) for nats in score(self.loaded, texts, whole=True).likelihood.nats]

    def write(self, prompts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        from yanmo.inference import engine
        from yanmo.inference.model import start_of
        from yanmo.inference.sampling import sampling
        from yanmo.inference.writing import written

        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        assert tokenizer is not None
        asked, requests = sampling(**settings), []
        for prompt in prompts:
            if model.kind == "encoder-decoder":
                source = tokenizer.add_special(tokenizer.encode(prompt)).ids
                source = source[-model.context :] if model.context else source
                requests.append(engine.Request([start_of(self.loaded)], asked, source))
            else:
                ids = [tokenizer.bos_id, *tokenizer.encode(prompt)]
                room = max(model.context - settings["max_tokens"], 1) if model.context else len(ids)
                requests.append(engine.Request(ids[-room:], asked))
        return [found.text for found in written(model, tokenizer, requests)]


class Served:
    """A model behind an HTTP interface like OpenAI's, with /tokenize as ours and vLLM's have it."""

    def __init__(self, url: str, name: str | None = None):
        self.url, self.name = url.rstrip("/").removesuffix("/v1"), name
        self.spoken: dict[str, list[int]] = {}
        self.context = self._post("/tokenize", {"prompt": "a", **self._named}).get("max_model_len")

    @property
    def _named(self) -> dict[str, Any]:
        return {"model": self.name} if self.name else {}

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(asked, timeout=SECONDS) as answer:
                return json.load(answer)
        except HTTPError as error:
            given = error.read().decode("utf-8", "replace")[:300]
            raise RequestError(self.url + path, text("an answer"), f"{error.code}: {given}") from None
        except (URLError, OSError) as error:
            raise RequestError(self.url + path, text("an answer"), str(getattr(error, "reason", error))) from None

    def ids(self, content: str) -> list[int]:
        """The border and the text's tokens."""
        if content not in self.spoken:
            body = {"prompt": content, "add_special_tokens": True, **self._named}
            self.spoken[content] = self._post("/tokenize", body)["tokens"]
        return self.spoken[content]

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As `continuations.pair_ids`, the tokens from the server."""
        return seam(self.ids(context.rstrip()), self.ids(context + continuation))

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Continued]:
        found: list[Continued] = []
        for at in range(0, len(pairs), BATCH):
            asked = [self.pair(*pair) for pair in pairs[at : at + BATCH]]
            found += self._scored(asked)
        return found

    def _scored(self, asked: Sequence[tuple[list[int], list[int]]]) -> list[Continued]:
        room = self.context or 2**62
        rows = [[*context, *continuation][-room:] for context, continuation in asked]
        body = {"prompt": rows, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0, **self._named}
        choices = sorted(self._post("/v1/completions", body)["choices"], key=lambda choice: choice["index"])
        found = []
        for (context, continuation), row, choice in zip(asked, rows, choices, strict=True):
            counted = min(len(continuation), len(row) - 1)
            own = choice["logprobs"]["token_logprobs"][len(row) - counted : len(row)]
            tops = choice["logprobs"]["top_logprobs"][len(row) - counted : len(row)]
            greedy = all(value >= max(top.values()) for value, top in zip(own, tops))
            found.append(Continued(sum(own), len(continuation), greedy, len(context) + len(continuation) - len(row)))
        return found

    def whole(self, texts: Sequence[str]) -> list[float]:
        from yanmo.tasks.language_modeling import windows

        found = []
        for content in texts:
            ids, total = self.ids(content), 0.0
            for start, first, end in windows(len(ids), (self.context or 2**62) - 1):
                piece = ids[start : end + 1]
                [one] = self._scored([(piece[: first - start + 1], piece[first - start + 1 :])])
                total += one.logprob
            found.append(total)
        return found

    def write(self, prompts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        found: list[str] = []
        room = max(self.context - settings["max_tokens"], 1) if self.context else 2**62
        for at in range(0, len(prompts), BATCH):
            body = {"prompt": [self.ids(prompt)[-room:] for prompt in prompts[at : at + BATCH]], **settings, **self._named}
            choices = sorted(self._post("/v1/completions", body)["choices"], key=lambda choice: choice["index"])
            found += [choice["text"] for choice in choices]
        return found


def language_model(speaker: Speaker) -> Any:
    """What the harness takes as a model: an `lm_eval.api.model.LM`."""
    api = needed("lm_eval.api.model", "harness", "yanmo.evaluate.harness")

    class Yanmo(api.LM):  # type: ignore[name-defined]
        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            found = speaker.score([request.args for request in requests])
            return [(one.logprob, one.greedy) for one in found]

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            return speaker.whole([request.args[0] for request in requests])

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            found: dict[int, str] = {}
            alike: dict[str, list[int]] = {}
            settings = [writing(request.args[1]) for request in requests]
            for number, asked in enumerate(settings):
                alike.setdefault(json.dumps(asked, sort_keys=True), []).append(number)
            for numbers in alike.values():
                answers = speaker.write([requests[number].args[0] for number in numbers], settings[numbers[0]])
                found |= dict(zip(numbers, answers, strict=True))
            return [found[number] for number in range(len(requests))]

    return Yanmo()


def writing(asked: dict[str, Any]) -> dict[str, Any]:
    """The harness's settings of a text as ours: greedy unless it asks for drawing; RequestError for one that we do not have."""
    given = dict(asked)
    until = given.pop("until", None) or []
    drawn = given.pop("do_sample", None)
    temperature = float(given.pop("temperature", 1.0 if drawn else 0.0))
    limits = [given.pop(name) for name in ("max_gen_toks", "max_new_tokens", "max_tokens") if name in given]
    settings = {"max_tokens": int(limits[0]) if limits else NEW, "seed": 1234,
                "temperature": 0.0 if drawn is False else temperature,
                "stop": [until] if isinstance(until, str) else [stop for stop in until if stop]}  # fmt: skip
    settings |= {name: given.pop(name) for name in ("top_p", "top_k", "min_p") if given.get(name) is not None}
    if given:
        raise RequestError("generation_kwargs", text("settings that are known here"), ", ".join(sorted(given)))
    return settings


def run(model: str | Path, tasks: Sequence[str | dict[str, Any]], *, include: str | Path | None = None, name: str | None = None,
        limit: int | None = None, shots: int | None = None) -> dict[str, Any]:  # fmt: skip
    """{"results": {task: {metric: value}}, "samples": {task: [what was asked and answered]}} of the harness's tasks, by name,
    as YAML files or as mappings. `model`: a path, or the address of a server (`name` says which of its models); `include`: a
    folder of
    YAML tasks (without it, the harness's own are known too); `limit`: items of each task; `shots`: examples shown."""
    needed("lm_eval", "harness", "yanmo.evaluate.harness")
    from lm_eval.evaluator import simple_evaluate

    manager = _manager(tasks, include)
    speaker: Speaker
    if str(model).startswith(("http://", "https://")):
        speaker = Served(str(model), name)
    else:
        from yanmo.inference.model import Model
        from yanmo.models.store import resolve

        speaker = Opened(Model.open(resolve(model, lambda config: not config.get("id2label"))))
    found = simple_evaluate(language_model(speaker), tasks=list(tasks), num_fewshot=shots, limit=limit, task_manager=manager,
                            bootstrap_iters=0, log_samples=True)  # fmt: skip
    assert found is not None
    return {"results": found["results"], "samples": found["samples"]}


def _manager(tasks: Sequence[str | dict[str, Any]], include: str | Path | None) -> Any:
    """What the harness finds tasks by, after a look at each with its data: RequestError for one that it does not know or cannot
    read, before any model is opened."""
    from lm_eval.tasks import TaskManager, get_task_dict

    manager = TaskManager(include_path=None if include is None else str(include), include_defaults=include is None)
    known = set(manager.all_tasks)
    for task in tasks:
        if isinstance(task, str) and task not in known and not Path(task).is_file():
            wanted = text("a task of lm-evaluation-harness") if include is None else text("a task of {folder}", folder=include)
            raise RequestError("harness", wanted, task or text("none"), nearest(task, known))
        try:
            get_task_dict([task], manager)
        except Exception as error:  # a task's file and its data may make the harness raise anything
            where = str(task if isinstance(task, str) else task.get("task"))
            given = f"{type(error).__name__}: {error}"
            raise RequestError(where, text("a task that lm-evaluation-harness can read"), given) from error
    return manager
