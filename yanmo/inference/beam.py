"""Beam search: the most probable answers that are found by following several at a time, for every kind of model.

    prompts are read, one slot each      their likeliest `beams` tokens begin that many answers, in slots copied from it
    every step                           one pass over all slots of all requests; of a request's answers with one token
                                         more, the `beams` most probable are taken; those that end, leave
    an answer is worth                   ln p(answer) / lp(n),   lp(n) = ((5 + n) / 6)^α     (Wu et al. 2016, equation 14)

n counts the tokens with the end. Answers that end take their place among the `beams` of their step, so that one beam is
greedy search, and beams that hold every answer there is, an exhaustive one. A request is over when nothing that it still
follows can become worth more than the `best` that it has: ln p only falls, and the divisor is bounded, so that nothing
better is missed. Answers at the limit of their tokens count as they are ('length').

A slot goes to the first answer that continues what is in it; only the others are copies, and of a slot that has held the prompt
before, only what came behind it. A request's slots lie side by side, and so do those of all that are still searched: a pass
reads them where they are. Requests do not see each other: what one gets does not depend on the others (to the rounding of
float32 products, as everywhere).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from yanmo.core.errors import RequestError, WorkError
from yanmo.core.messages import text
from yanmo.inference.engine import Completion, Engine, Request, Token
from yanmo.inference.memory import Recollection
from yanmo.inference.transcript import Transcript
from yanmo.models.base import Inputs, LanguageModel
from yanmo.nn.state import DenseSlots
from yanmo.text.tokenizer import Tokenizer

Recall = Callable[[int], Recollection | None]

ROWS = 64  # slots of one pass, unless one request needs more
STORAGE = 2**31  # bytes that they take at most, unless one request needs more
PENALTY = 0.6  # α where nobody says (Vaswani et al. 2017, section 6.1)


@dataclass(frozen=True, slots=True)
class Answer:
    """`score` is what it is worth, `logprob` ln p in nats; `ids` with the end, where it ended."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish: str  # 'stop' or 'length'

    @property
    def logprob(self) -> float:
        return sum(self.logprobs)


@dataclass(slots=True)
class _Line:
    """An answer that is still written: its slot remembers all but its last token."""

    row: int
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    total: float = 0.0


@dataclass(slots=True)
class _Search:
    """One request on its way. `rows` are its own, `read` those of them that have held the prompt."""

    request: Request
    limit: int
    rows: list[int]
    lines: list[_Line]
    read: set[int]
    remembered: Recollection | None
    ended: list[Answer] = field(default_factory=list)


class BeamSearch:
    """`beams` answers are followed, the `best` of those that end are given. `penalty`: α; 0 takes ln p as it is, which favours
    short answers."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, beams: int, best: int = 1, penalty: float = PENALTY):
        if not 1 <= best <= beams:
            raise RequestError("beams", text("at least as many as the answers wanted: {best}", best=best), str(beams))
        self.model, self.tokenizer, self.beams, self.best, self.penalty = model.eval(), tokenizer, beams, best, penalty
        self.engine = Engine(model, tokenizer, slots=1, capacity=1)  # which requests can be served is its to say
        self.device, self.ends = self.engine.device, self.engine.ends

    @torch.inference_mode()
    def answers(self, requests: Sequence[Request], recall: Recall | None = None) -> list[list[Answer]]:
        """The best answers to each request, the best first; fewer where fewer were found. `recall`: what is remembered while
        request number n is answered. RequestError for a request that can never be served, WorkError for logits without a
        finite one."""
        found: list[list[Answer]] = []
        limits = [self._limit(request) for request in requests]
        at = 0
        while at < len(requests):
            count, capacity = self._together(requests[at:], limits[at:])
            slots = DenseSlots(self.model.state(), count * self.beams, capacity, self.device)
            remembered = [None if recall is None else recall(number) for number in range(at, at + count)]
            found += self._searched(requests[at : at + count], limits[at : at + count], remembered, slots)
            at += count
        return found

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """The best answer to each request, as the engine gives it."""
        return [self.completion(answers[0]) for answers in self.answers(requests)]

    def completion(self, answer: Answer) -> Completion:
        transcript = Transcript(self.tokenizer, [])
        said = "".join(map(transcript.push, answer.ids)) + transcript.finish()
        return Completion(said, [Token(*pair) for pair in zip(answer.ids, answer.logprobs)], None, answer.finish)

    # ------------------------------------------------------------------------------------------------ room

    def _limit(self, request: Request) -> int:
        """New tokens at most."""
        settings, context = request.sampling, self.model.context
        for name, plain in (("stop", []), ("ignore_eos", False), ("prompt_logprobs", False)):
            given = getattr(settings, name)
            if given != plain:
                raise RequestError(name, text("a request without it, where several beams are followed"), str(given))
        self.engine.context = context
        self.engine.check(request)
        if settings.max_tokens is None and context is None:
            raise RequestError("max_tokens", text("a number, for a model without a bound"), text("none"))
        room = context - len(request.ids) + 1 if context else settings.max_tokens
        assert room is not None
        return room if settings.max_tokens is None else min(room, settings.max_tokens)

    def _together(self, requests: Sequence[Request], limits: Sequence[int]) -> tuple[int, int]:
        """(how many of the first requests are searched at one time, tokens that each of their slots has room for)."""
        spec = self.model.state()
        sizes = {per: sum(s.dtype.itemsize * torch.Size(s.shape).numel() for s in spec.values() if s.per_token is per)
                 for per in (True, False)}  # fmt: skip
        capacity = 1
        for number, (request, limit) in enumerate(zip(requests, limits), 1):
            longest = max(capacity, len(request.ids) + limit)
            rows = number * self.beams
            if number > 1 and (rows > ROWS or rows * (longest * sizes[True] + sizes[False]) > STORAGE):
                return number - 1, capacity
            capacity = longest
        return len(requests), capacity

    # ------------------------------------------------------------------------------------------------ the search

    def _searched(self, requests: Sequence[Request], limits: Sequence[int], remembered: Sequence[Recollection | None],
                  slots: DenseSlots) -> list[list[Answer]]:  # fmt: skip
        searches = []
        for number, (request, limit, own) in enumerate(zip(requests, limits, remembered)):
            rows = list(range(number * self.beams, (number + 1) * self.beams))
            search = _Search(request, limit, rows, [_Line(rows[0])], {rows[0]}, own)
            searches.append(search)
            if limit == 0:
                search.lines, search.ended = [], [Answer((), (), 0.0, "length")]
            else:
                self._continue([search], *self._read(request, slots.at(rows[:1])), slots)
        while live := [search for search in searches if search.lines]:
            _close_up(live, slots)
            lines = [line for search in live for line in search.lines]
            order = sorted(range(len(lines)), key=lambda place: lines[place].row)
            view = slots.at([lines[place].row for place in order])
            last = torch.tensor([[lines[place].ids[-1]] for place in order], device=self.device)
            output = self.model(Inputs(last), view)
            view.advance(1)
            back = sorted(range(len(order)), key=order.__getitem__)
            hidden = None if output.hidden is None else output.hidden[back, -1]
            self._continue(live, output.logits[back, -1], hidden, slots)
        return [search.ended[: self.best] for search in searches]

    def _read(self, request: Request, view: DenseSlots) -> tuple[Tensor, Tensor | None]:
        """The prompt's last logits (1, V) and the hidden state (1, D) that they are of."""
        source = None if request.source is None else Inputs(torch.tensor([list(request.source)], device=self.device))
        ids = torch.tensor([list(request.ids)], device=self.device)
        select = torch.zeros_like(ids, dtype=torch.bool)
        select[:, -1] = True
        output = self.model(Inputs(ids, source=source), view, select=select)
        view.advance(ids.shape[1])
        return output.logits, None if output.hidden is None else output.hidden[:, -1]

    def _continue(self, searches: Sequence[_Search], logits: Tensor, hidden: Tensor | None, slots: DenseSlots) -> None:
        """Every answer's continuations by its logits (lines, V) and what is remembered at its hidden state (lines, D), and the
        slots of those that stay."""
        known = logits[:, : self.tokenizer.size].float()
        known = torch.where(torch.isfinite(known), known, -torch.inf)  # a token without a finite one is impossible
        if bool((known.amax(-1) == -torch.inf).any()):
            raise WorkError("model", text("finite logits"), text("none that is finite"))
        logprobs = known.double().log_softmax(-1)
        at = 0
        copies: list[tuple[int, int, int]] = []
        for search in searches:
            size = len(search.lines)
            own = logprobs[at : at + size]
            if search.remembered is not None:
                if hidden is None:
                    raise RequestError("memory", text("a model that gives its hidden states"), type(self.model).__name__,
                                       text("leave out 'memory'"))  # fmt: skip
                own = search.remembered.mixed(own, hidden[at : at + size])
            self._step(search, own, copies)
            at += size
        if copies:
            slots.branch(*zip(*copies))

    def _step(self, search: _Search, logprobs: Tensor, copies: list[tuple[int, int, int]]) -> None:
        """One token more for a request's answers; `copies` gets (from, to, since which token) of the slots that branch."""
        totals = torch.tensor([line.total for line in search.lines], dtype=torch.float64, device=self.device)
        every = (totals[:, None] + logprobs).flatten()
        values, places = every.topk(min(self.beams, len(every)))
        # of equals the first: topk's own order of equals is not said anywhere
        chosen = sorted(zip(values.tolist(), places.tolist()), key=lambda item: (-item[0], item[1]))
        before, size, taken = search.lines, logprobs.shape[1], set[int]()
        search.lines, branches = [], []
        for total, place in chosen:
            if total == -torch.inf:
                continue
            parent, token = before[place // size], place % size
            ids = (*parent.ids, token)
            told = (*parent.logprobs, float(logprobs[place // size, token]))
            if token in self.ends or len(ids) >= search.limit:
                search.ended.append(Answer(ids, told, total / self.divisor(len(ids)), "stop" if token in self.ends else "length"))
                continue
            line = _Line(parent.row, ids, told, total)
            search.lines.append(line)
            if parent.row in taken:
                branches.append(line)
            taken.add(parent.row)
        search.ended.sort(key=lambda answer: -answer.score)  # stable: of equals the one that ended first
        if self._settled(search):
            search.lines = []
            return
        free = [row for row in search.rows if row not in taken]
        for line in branches:
            row = free.pop(0)
            copies.append((line.row, row, len(search.request.ids) if row in search.read else 0))
            search.read.add(row)
            line.row = row

    def _settled(self, search: _Search) -> bool:
        """Whether nothing that is still written can be worth more than the best that ended."""
        if len(search.ended) < self.best or not search.lines:
            return False
        worst, length = search.ended[self.best - 1].score, len(search.lines[0].ids)
        widest = max(self.divisor(length + 1), self.divisor(search.limit))
        return all(line.total / widest <= worst for line in search.lines)

    def divisor(self, length: int) -> float:
        return ((5 + length) / 6) ** self.penalty


def _close_up(live: Sequence[_Search], slots: DenseSlots) -> None:
    """Where a request is over, the last one's slots move into its place."""
    free = iter(sorted(set(range(0, len(live) * len(live[0].rows), len(live[0].rows))) - {search.rows[0] for search in live}))
    for search in sorted(live, key=lambda search: -search.rows[0]):
        first = search.rows[0]
        if first < len(live) * len(search.rows):
            return
        moved = dict(zip(search.rows, range(place := next(free), place + len(search.rows))))
        slots.copy(list(moved), list(moved.values()))
        search.rows, search.read = list(moved.values()), {moved[row] for row in search.read}
        for line in search.lines:
            line.row = moved[line.row]
