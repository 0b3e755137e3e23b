"""A saved model, opened: what `yanmo.load(path)` gives.

    model = yanmo.load("runs/stories")
    model.generate("Once upon a time")        model.chat([{"role": "user", "content": "…"}])
    model.predict(["a text", "another"])      model.score("a text")      model.embed(["a text"])      model.logits(ids)
    model.tag(["a text with names in it"])    model.answer("a question", "a text with the answer in it")

A run holds several models; each method takes the last one that can do what it does, opened when first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.data import Prediction
from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text
from yanmo.inference.engine import Engine, Request, check_ids
from yanmo.inference.layout import for_decoding
from yanmo.inference.likelihood import device_of
from yanmo.inference.places import pieces, probabilities, scores
from yanmo.inference.sampling import sampling
from yanmo.inference.scoring import score, unable
from yanmo.models.base import Inputs, LanguageModel, Loaded, TextClassifier
from yanmo.models.embedder import vector
from yanmo.models.store import candidates, load, resolve
from yanmo.tasks import multi_label, ner, qa
from yanmo.tasks.classify import decide, pair_tokens
from yanmo.tasks.labelled import inputs
from yanmo.tasks.spans import NOWHERE, best_spans
from yanmo.text.chat import render
from yanmo.text.windows import windows

if TYPE_CHECKING:
    from yanmo.inference.writing import Written
    from yanmo.text.tokenizer import Tokenizer

BATCH = 8192  # tokens in one pass over many texts, padding included
WINDOW = 1024  # tokens of a text that a model without a context limit takes at once
NEW = 128  # tokens generated where nobody says

Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text as it is generated: never half a character, often one word. `tokens` counts from the beginning."""

    text: str
    tokens: int
    finish: str | None = None  # with the last piece: 'stop' or 'length'


class Model:
    """One opened model, or the models of a run: `loaded` is the last, and each method takes the last that can do it."""

    def __init__(self, folders: Sequence[Path], where: str, device: torch.device | str | None = None, trust_code: bool = False):
        self.trust_code = trust_code
        self.folders, self.where = list(folders), where
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._opened: dict[Path, Loaded] = {}

    @classmethod
    def open(cls, path: str | Path | Sequence[str | Path], device: torch.device | str | None = None, trust_code: bool = False,
             samples: int | None = None) -> Model:  # fmt: skip
        """A run, RUN/STAGE or a model directory; several answer together (`together.py`), and so do `samples` draws from a
        model's posterior. RequestError where there is no model, DataError for a broken one."""
        places = [path] if isinstance(path, str | Path) else list(path)
        models = [cls(candidates(place) or [resolve(place)], str(place), device, trust_code) for place in places]
        if len(models) == 1 and samples is None:
            model = models[0]
        else:
            from yanmo.inference.together import together

            model = together(models, samples)
        model.loaded  # noqa: B018  what is wrong with it is said here, not at the first use
        return model

    # ------------------------------------------------------------------------------------------------ abilities

    @property
    def loaded(self) -> Loaded:
        return self._load(self.folders[-1])

    @property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_of(self._able(tokenizes, text("tokenize text")))

    @property
    def context(self) -> int | None:
        return getattr(self.loaded.model, "context", None)

    @property
    def abilities(self) -> list[str]:
        """What the last model can do: 'generate', 'classify', 'tag', 'answer', 'tokenize', 'embed'."""
        able = {"generate": generates, "classify": classifies, "tag": tags, "answer": answers, "tokenize": tokenizes,
                "embed": embeds}  # fmt: skip
        return [name for name, check in able.items() if check(self.loaded)]

    @property
    def predicts(self) -> str:
        """The head of the last model that says something of texts: 'classify', 'labels', 'tag', 'span', or 'text' where it was
        tuned to write about them."""
        say = (classifies, tags, answers, writes)
        return self._able(lambda loaded: any(able(loaded) for able in say), text("label texts, or write about them")).head

    def _load(self, folder: Path) -> Loaded:
        if folder not in self._opened:
            self._opened[folder] = load(folder, self.device, self.trust_code)
            if isinstance(self._opened[folder].model, torch.nn.Module):
                for_decoding(self._opened[folder].model)
        return self._opened[folder]

    def _able(self, ability: Callable[[Loaded], bool], what: Text) -> Loaded:
        """The last model with the ability; RequestError that says what there is instead."""
        for folder in reversed(self.folders):
            if ability(self._load(folder)):
                return self._load(folder)
        found = ", ".join(sorted({str(describe(loaded)) for loaded in self._opened.values()}))
        raise RequestError(self.where, text("a model that can {what}", what=what), found)

    # ------------------------------------------------------------------------------------------------ generation

    def stream(self, prompt: str | Messages, *, max_tokens: int | None = NEW, temperature: float = 0.8, top_p: float = 1.0,
               top_k: int | None = None, min_p: float = 0.0, seed: int | None = 0, stop: str | list[str] | None = None,
               ignore_eos: bool = False, chat: bool = False, beams: int = 1,
               length_penalty: float | None = None) -> Iterator[Piece]:  # fmt: skip
        """Goes on with a text, or answers messages (or, with `chat`, a text as one message), piece by piece.

        A text begins with the document border, as in training. The same seed gives the same text; None, another each
        time. Leaving the iterator stops the work. With several `beams` (at temperature 0) the likeliest text that they find is
        one piece (`beam.py`).
        """
        settings = sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p,
                            seed=seed, stop=stop, ignore_eos=ignore_eos)  # fmt: skip
        loaded = self._able(generates, text("generate text"))
        if chat and isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        source = None
        ids = prompt_ids(prompt, tokenizer_of(loaded))
        if loaded.model.kind == "encoder-decoder":  # the prompt is what it reads, the answer what it writes
            source = tokenizer_of(loaded).encode(prompt) if isinstance(prompt, str) else ids
            source, ids = tokenizer_of(loaded).add_special(source).ids, [start_of(loaded)]
        if beams != 1 or length_penalty is not None:
            return iter([_searched(loaded, Request(ids, settings, source), beams, length_penalty)])
        # beyond its context goes a model that forgets what lies behind its window
        endless = bool(getattr(loaded.model, "rolls", None)) and len(ids) + (max_tokens or 0) > (loaded.model.context or 0)
        engine = Engine(loaded.model, tokenizer_of(loaded), slots=1, endless=endless,
                        capacity=None if endless else _room(loaded, ids, max_tokens))  # fmt: skip
        return self._pieces(engine, Request(ids, settings, source))

    def _pieces(self, engine: Engine, request: Request) -> Iterator[Piece]:
        ticket = engine.submit(request)
        for event in engine.stream(ticket):
            if event.text or event.finish:
                yield Piece(event.text, len(ticket.tokens), event.finish)

    def generate(self, prompt: str | Messages, **settings: Any) -> str:
        """The whole of what `stream` gives, with the same settings: max_tokens, temperature, top_p, seed, chat …"""
        return "".join(piece.text for piece in self.stream(prompt, **settings))

    def chat(self, messages: Messages, **settings: Any) -> str:
        """The assistant's answer to a conversation, by the model's own template."""
        return self.generate(messages, **settings)

    # ------------------------------------------------------------------------------------------------ texts

    @torch.inference_mode()
    def predict(self, texts: Sequence[str | tuple[str, str]]) -> list[Prediction]:
        """The label of each text (or pair of texts) with its probability; of models that give any number of labels, `labels` too.
        Long texts are cut to the model's context."""
        loaded = self._able(classifies, text("label texts"))
        several = loaded.head == "labels"
        pairs = [(given, None) if isinstance(given, str) else tuple(given) for given in _given(texts)]
        if isinstance(loaded.model, TextClassifier):
            whole = [inputs({"text": first, "second": second}) for first, second in pairs]
            rows = loaded.model.probabilities(whole) if whole else []
        elif several:
            rows = self._over(loaded, pairs, lambda given: loaded.model(given).double().sigmoid())
        else:
            rows = self._over(loaded, pairs, lambda given: loaded.model(given).double().softmax(-1))
        choose = multi_label.decide if several else decide
        return [choose(first, loaded.labels, row) for (first, _), row in zip(pairs, rows)]

    def tag(self, texts: Sequence[str]) -> list[Prediction]:
        """The named places of each text, as `spans` of its characters. Long texts are read in windows that overlap: nothing is
        cut."""
        loaded = self._able(tags, text("tag texts"))
        contents = _checked(texts)
        if not isinstance(loaded.model, torch.nn.Module):
            return loaded.model.tag(contents)
        tokenizer = tokenizer_of(loaded)
        length = _length(loaded)
        read = [windows(content, tokenizer, length) for content in contents]
        found = iter(scores(loaded.model, [w.row(None, w.own, "") for some in read for w in some], tokenizer.pad_id))
        weighed = getattr(loaded.model, "chain", None)  # which tag follows which, where that was learned
        chain = None if weighed is None else weighed.potentials()
        made = []
        for content, some in zip(contents, read):
            given = [next(found) if chain else probabilities(next(found)) for _ in some]
            outputs = pieces([w.places for w in some], [w.own for w in some], given)
            made.append(ner.decide(content, loaded.labels, outputs, chain))
        return made

    def answer(self, question: str, context: str, **settings: Any) -> Prediction:
        """The answer to a question that stands in a text: see `answers`."""
        return self.answers([(question, context)], **settings)[0]

    def answers(self, asked: Sequence[tuple[str, str]], *, none: bool | None = None, threshold: float | None = None,
                tokens: int | None = None, best: int = 20) -> list[Prediction]:  # fmt: skip
        """For each question with its text: `answer`, a part of the text, its place as the one of `spans`, and its probability
        among the `best` ones. Long texts are read in windows that overlap.

        `none`: whether there may be no answer ('' then), where that is ahead of the best one by more than `threshold`;
        `tokens`: of an answer at most; each as the model was taught unless given (False, 0 and 30 where it does not say)."""
        loaded = self._able(answers, text("answer questions about a text"))
        for question, context in asked:
            _checked([question, context])
        if not isinstance(loaded.model, torch.nn.Module):
            return [loaded.model.answer(question, context) for question, context in asked]
        taught = (loaded.config.get("yanmo") or {}).get("answers") or {}
        none = bool(taught.get("none", False)) if none is None else none
        margin = float(taught.get("threshold", 0.0)) if threshold is None else threshold
        longest = int(taught.get("tokens", 30)) if tokens is None else tokens
        tokenizer, length = tokenizer_of(loaded), _length(loaded)
        read = [windows(context, tokenizer, length, before=question) for question, context in asked]
        found = iter(scores(loaded.model, [w.row(None, w.own, "") for some in read for w in some], tokenizer.pad_id))
        made = []
        for (_, context), some in zip(asked, read):
            spots = best_spans(some, [next(found) for _ in some], longest, best)
            kept = spots if none else [spot for spot in spots if (spot.start, spot.end) != NOWHERE]
            made.append(qa.decide(context, kept, margin))
        return made

    def write(self, texts: Sequence[str]) -> list[Written]:
        """What a model writes about each text that was tuned for that, a translator or a summariser, by the settings of its task:
        template, beams, sentences. `text` is the answer, `near` the training pairs that were looked up for it, if any."""
        from yanmo.inference.writing import task_of, written_about

        loaded = self._able(writes, text("write about texts"))
        task = task_of(loaded)
        assert task is not None
        return written_about(loaded, task, _checked(texts))

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32: the mean of the last hidden states over each text's tokens (of a decoder without the border, where
        there are others; of an encoder with the marks around the text, as sentence encoders are trained)."""
        loaded = self._able(embeds, text("embed texts"))
        model: LanguageModel = getattr(loaded.model, "backbone", loaded.model)

        pairs: list[tuple[str, str | None]] = [(content, None) for content in _checked(texts)]
        found = self._over(loaded, pairs, lambda given: vector(model, given))
        return np.asarray(found, dtype=np.float32).reshape(len(texts), model.width or 0)

    def score(self, content: str) -> dict[str, Any]:
        """How probable the model finds a text, as one document: {bits_per_byte, perplexity, tokens, bytes}.

        Where the figures are no plain likelihood, `measure` says what they are: 'likelihood behind a gap' (an encoder-decoder,
        asked for the text behind a single gap), or 'pseudo-likelihood' (a masked model, which sees both sides of each token):
        those are called pseudo_bits_per_byte and pseudo_perplexity, and `every` says of how many tokens one was asked for
        where a long text made it more than one. Of a run, a masked model is asked only where no other has an answer."""
        loaded = self._scorer()
        [content] = _checked([content])
        if not content:
            raise RequestError("score", text("some text"), text("an empty one"))
        found, by, every = score(loaded, [content])
        pseudo = "pseudo_" if by == "pseudo-likelihood" else ""
        figures = {f"{pseudo}bits_per_byte": found.bits_per_byte, f"{pseudo}perplexity": found.perplexity,
                   "tokens": int(found.tokens.sum()), "bytes": int(found.bytes.sum())}  # fmt: skip
        return figures | ({} if by == "likelihood" else {"measure": by}) | ({"every": every} if every > 1 else {})

    def _scorer(self) -> Loaded:
        """The last model that gives texts a likelihood, else the last that gives a pseudo-likelihood."""
        masked = None
        for loaded in (self._load(folder) for folder in reversed(self.folders)):
            if unable(loaded) is None:
                if loaded.model.kind != "masked":
                    return loaded
                masked = masked or loaded
        if masked is None:
            wanted = text("a model that can {what}", what=text("give texts a probability"))
            raise RequestError(self.where, wanted, unable(self.loaded))
        return masked

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Tensor:
        """(T, V) float32 on the CPU: row t is about the token after ids[t], of a masked model about ids[t] itself. The ids
        are taken as they are; `source`: what an encoder-decoder's encoder reads."""
        loaded = self._able(lambda item: isinstance(item.model, LanguageModel), text("give logits"))
        model: LanguageModel = loaded.model
        if (source is None) == (model.kind == "encoder-decoder"):
            raise RequestError("source", text("an encoder-decoder model and a source, or neither"), str(describe(loaded)))
        for where, given in (("ids", ids), ("source", source)):
            if given is not None:
                check_ids(where, given, model.vocabulary, model.context)
        device = device_of(model)
        read = None if source is None else Inputs(torch.tensor([list(source)], device=device))
        found = model(Inputs(torch.tensor([list(ids)], device=device), source=read)).logits
        return found[0].float().cpu()

    def _over(self, loaded: Loaded, pairs: list[tuple[str, str | None]], work: Callable[[Inputs], Tensor]) -> list[np.ndarray]:
        """`work` over batches of texts (or pairs) of like length, padded on the right and masked; a row each, in their order."""
        tokenizer, device = tokenizer_of(loaded), device_of(loaded.model)
        length = _length(loaded)
        made = [pair_tokens(first, second, tokenizer, length) for first, second in pairs]
        rows, kinds = [tokens for tokens, _, _ in made], [types for _, types, _ in made]
        order = sorted(range(len(rows)), key=lambda index: (-len(rows[index]), index))
        found: list[Any] = [None] * len(rows)
        while order:
            size = max(1, BATCH // len(rows[order[0]]))
            batch, order = order[:size], order[size:]
            longest = len(rows[batch[0]])
            tokens = torch.tensor([rows[i] + [tokenizer.pad_id] * (longest - len(rows[i])) for i in batch], device=device)
            lengths = torch.tensor([len(rows[i]) for i in batch], device=device)
            mask = torch.arange(longest, device=device) < lengths[:, None]
            types = None
            if any(kinds[i] is not None for i in batch):
                types = torch.tensor([(kinds[i] or [0] * len(rows[i])) + [0] * (longest - len(rows[i])) for i in batch],
                                     device=device)  # fmt: skip
            for index, row in zip(batch, work(Inputs(tokens, types=types, mask=mask)).cpu().numpy()):
                found[index] = row
        return found


def _searched(loaded: Loaded, request: Request, beams: int, penalty: float | None) -> Piece:
    """The best of several answers that are followed at a time."""
    from yanmo.inference.beam import PENALTY, BeamSearch

    if beams == 1:
        raise RequestError("length_penalty", text("several beams, between whose answers it chooses"), "1")
    if not request.sampling.greedy:
        raise RequestError("temperature", text("0 with several beams, which draw nothing"), str(request.sampling.temperature))
    search = BeamSearch(loaded.model, tokenizer_of(loaded), beams, penalty=PENALTY if penalty is None else penalty)
    [found] = search.complete([request])
    return Piece(found.text, len(found.tokens), found.finish)


def models(path: str | Path) -> dict[str, Model]:
    """Every model of a run (or the one of a stage or a directory) by its stage's or its folder's name, in their order."""
    folders = candidates(path) or [resolve(path)]
    names = [folder.resolve().parent.name if folder.name == "model" else folder.resolve().name for folder in folders]
    return {name: Model.open(folder) for name, folder in zip(names, folders)}


def generates(loaded: Loaded) -> bool:
    return loaded.generates and loaded.model.kind != "masked" and loaded.tokenizer is not None


def writes(loaded: Loaded) -> bool:
    """Whether a stage tuned it for a task whose answers are written."""
    from yanmo.inference.writing import task_of
    from yanmo.models.writer import TextWriter

    return (isinstance(loaded.model, TextWriter) or generates(loaded)) and task_of(loaded) is not None


def classifies(loaded: Loaded) -> bool:
    return bool(loaded.labels) and loaded.head in ("classify", "labels")


def tags(loaded: Loaded) -> bool:
    return loaded.head == "tag"


def answers(loaded: Loaded) -> bool:
    return loaded.head == "span"


def tokenizes(loaded: Loaded) -> bool:
    return loaded.tokenizer is not None


def embeds(loaded: Loaded) -> bool:
    return tokenizes(loaded) and getattr(getattr(loaded.model, "backbone", loaded.model), "width", None) is not None


def tokenizer_of(loaded: Loaded) -> Tokenizer:
    assert loaded.tokenizer is not None, "a model that reads text is saved with its tokenizer"
    return loaded.tokenizer


def describe(loaded: Loaded) -> Text:
    kind = str(loaded.config.get("model_type"))
    if classifies(loaded):
        return text("{kind}: labels texts", kind=kind)
    if tags(loaded):
        return text("{kind}: tags texts", kind=kind)
    if answers(loaded):
        return text("{kind}: answers questions about a text", kind=kind)
    hides = getattr(loaded.model, "kind", "") == "masked"
    return text("{kind}: predicts hidden tokens", kind=kind) if hides else text("{kind}: generates text", kind=kind)


def prompt_ids(prompt: str | Messages, tokenizer: Tokenizer) -> list[int]:
    """What the model reads before it generates: border and text, or the rendered conversation."""
    if isinstance(prompt, str):
        return [tokenizer.bos_id, *tokenizer.encode(prompt)]
    return render(prompt, tokenizer)


def start_of(loaded: Loaded) -> int:
    """The token that an encoder-decoder's decoder begins with: config.json's, else padding for T5 and the end for BART."""
    start = loaded.config.get("decoder_start_token_id")
    tokenizer = tokenizer_of(loaded)
    if start is None:
        start = tokenizer.eos_id if loaded.config.get("model_type") == "bart" else tokenizer.pad_id
    return int(start)


def _length(loaded: Loaded) -> int:
    """Tokens of a text that the model takes at once."""
    return int(getattr(loaded.model, "context", None) or WINDOW)


def _room(loaded: Loaded, ids: list[int], max_tokens: int | None) -> int | None:
    """Tokens that one request's slot must hold: no more is allocated than it can fill."""
    limit = loaded.model.context
    if limit is None or max_tokens is None or len(ids) > limit:
        return limit
    return min(limit, len(ids) + max_tokens)


def _given(texts: Sequence[str | tuple[str, str]]) -> list[Any]:
    """Texts or pairs of texts; RequestError for anything else."""
    fit = not isinstance(texts, str) and all(
        isinstance(item, str)
        or (isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item))
        for item in texts
    )
    if not fit:
        raise RequestError("texts", text("a list of strings, or of pairs of strings"), type(texts).__name__)
    return list(texts)


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or not all(isinstance(item, str) for item in texts):
        raise RequestError("texts", text("a list of strings"), type(texts).__name__)
    return list(texts)
