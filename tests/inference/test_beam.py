"""Beam search: one beam is greedy, beams that hold every answer are an exhaustive search, and no request sees another."""

from itertools import product

import pytest
import tokenizers
import torch
from tokenizers.models import WordLevel

import yanmo
from tests.inference.test_engine_kinds import made
from tests.inference.tiny import TEXTS, model, tokenizer
from yanmo.core.errors import RequestError, WorkError
from yanmo.inference.beam import BeamSearch
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.inference.writing import written
from yanmo.models.base import Inputs, LanguageModel, Output, StateSpec
from yanmo.models.store import save
from yanmo.text.special import OURS, added
from yanmo.text.tokenizer import Tokenizer

KINDS = ("ngram", "lstm", "gru", "transformer", "t5", "bart", "permuted", "windows", "experts")


def of_kind(kind):
    return model(kind) if kind in ("ngram", "lstm", "gru", "transformer") else made(kind)


def requests(built, tokens=9, count=5):
    tok = tokenizer()
    ids = [tok.encode(line)[: 3 + 2 * place] for place, line in enumerate(TEXTS[:count])]
    settings = sampling(max_tokens=tokens, temperature=0.0)
    if built.kind == "encoder-decoder":
        return [Request([tok.pad_id], settings, [*line, tok.eos_id]) for line in ids]
    return [Request([tok.eos_id, *line], settings) for line in ids]


@pytest.mark.parametrize("kind", KINDS)
def test_one_beam_is_greedy_for_every_kind(kind):
    built = of_kind(kind)
    greedy = Engine(built, tokenizer(), slots=3).complete(requests(built))
    for want, found in zip(greedy, BeamSearch(built, tokenizer(), beams=1).complete(requests(built)), strict=True):
        assert (found.ids, found.text, found.finish) == (want.ids, want.text, want.finish)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_together_and_alone_give_the_same(kind):
    built = of_kind(kind)
    search = BeamSearch(built, tokenizer(), beams=4, best=3)
    together = search.answers(requests(built))
    for request, found in zip(requests(built), together, strict=True):
        [alone] = search.answers([request])
        assert [answer.ids for answer in found] == [answer.ids for answer in alone]
        for one, other in zip(found, alone):
            assert one.score == pytest.approx(other.score, abs=1e-4)
        assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)
        assert len({answer.ids for answer in found}) == 3


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm", "transformer", "t5"])
def test_an_answers_probability_is_the_models(kind):
    built = of_kind(kind)
    for request, answers in zip(requests(built), BeamSearch(built, tokenizer(), beams=3, best=2, penalty=0.0).answers(requests(built))):
        for answer in answers:
            row = torch.tensor([[*request.ids, *answer.ids]])
            source = None if request.source is None else Inputs(torch.tensor([request.source]))
            logprobs = built(Inputs(row[:, :-1], source=source)).logits[0, :, : tokenizer().size].log_softmax(-1)
            want = logprobs.gather(-1, row[0, 1:, None])[len(request.ids) - 1 :, 0]
            assert answer.logprob == pytest.approx(float(want.sum()), abs=1e-3)
            assert answer.score == pytest.approx(answer.logprob)


class Chain(LanguageModel):
    """A model of a few tokens that remembers the last two: every distribution is drawn once."""

    kind, context, width, family = "causal", None, None, "none"

    def __init__(self, vocabulary, seed, flat):
        super().__init__()
        self.vocabulary = vocabulary
        self.table = torch.randn(vocabulary, vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed)) * flat

    def state(self):
        return {"last": StateSpec((1,), torch.int64, per_token=False)}

    def forward(self, inputs, slots=None, *, select=None, reduce=None):
        before = slots.read("last") if slots is not None else torch.zeros(len(inputs.tokens), 1, dtype=torch.int64)
        whole = torch.cat([before, inputs.tokens], 1)
        if slots is not None:
            slots.write("last", whole[:, -1:])
        logits = self.table[whole[:, :-1], whole[:, 1:]]
        return Output(logits[select] if select is not None else logits)


def small(letters):
    """A tokenizer of padding, the border and some letters."""
    names = ["<|pad|>", "<|endoftext|>"]
    inner = tokenizers.Tokenizer(WordLevel({name: number for number, name in enumerate([*names, *letters])}, unk_token="<|pad|>"))
    inner.add_special_tokens(added(names))
    return Tokenizer(inner, names=OURS)


def exhaustive(chain, start, length, ends, divisor):
    """Every answer of at most `length` tokens with what it is worth."""
    found = {}
    for size in range(1, length + 1):
        for ids in product(range(chain.vocabulary), repeat=size):
            if any(token in ends for token in ids[:-1]) or (size < length and ids[-1] not in ends):
                continue
            total, last = 0.0, (0, start)
            for token in ids:
                total += float(chain.table[last].double().log_softmax(-1)[token])
                last = (last[1], token)
            found[ids] = total / divisor(size)
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0, -0.5])
@pytest.mark.parametrize("seed", range(4))
def test_with_beams_for_every_answer_it_is_exhaustive(penalty, seed):
    tok, length = small("ab"), 3
    chain = Chain(tok.size, seed, flat=1.5)
    search = BeamSearch(chain, tok, beams=tok.size**length, best=6, penalty=penalty)
    [found] = search.answers([Request([1], sampling(max_tokens=length))])
    want = exhaustive(chain, 1, length, search.ends, search.divisor)
    assert [answer.ids for answer in found] == [ids for ids, _ in want[:6]]
    for answer, (_, score) in zip(found, want):
        assert answer.score == pytest.approx(score)
        assert answer.finish == ("stop" if answer.ids[-1] in search.ends else "length")


def test_more_beams_never_find_less_on_average_and_the_penalty_favours_length():
    tok = small("abcdefgh")
    gains, short, long = [], 0, 0
    for seed in range(12):
        chain = Chain(tok.size, seed, flat=1.0)
        request = Request([1], sampling(max_tokens=8))
        scores = [BeamSearch(chain, tok, beams, penalty=0.0).answers([request])[0][0].score for beams in (1, 8)]
        gains.append(scores[1] - scores[0])
        short += len(BeamSearch(chain, tok, 8, penalty=0.0).answers([request])[0][0].ids)
        long += len(BeamSearch(chain, tok, 8, penalty=2.0).answers([request])[0][0].ids)
    assert sum(gains) > 0
    assert long > short


def test_what_cannot_be_searched_is_said():
    built, tok = model("transformer"), tokenizer()
    with pytest.raises(RequestError, match="as many as the answers wanted: 3"):
        BeamSearch(built, tok, beams=2, best=3)
    search = BeamSearch(built, tok, beams=2)
    for request in (Request([]), Request([tok.size]), Request([1] * 97), Request([1], sampling(stop=["x"])), Request([1], sampling(ignore_eos=True)), Request([1], source=[1])):
        with pytest.raises(RequestError):
            search.answers([request])
    with pytest.raises(RequestError, match="max_tokens"):
        BeamSearch(model("lstm"), tok, beams=2).answers([Request([1])])
    broken = Chain(4, 0, 1.0)
    broken.table[:] = float("nan")
    with pytest.raises(WorkError, match="finite logits"):
        BeamSearch(broken, small("ab"), beams=2).answers([Request([1], sampling(max_tokens=3))])


def test_the_context_bounds_an_answer_and_no_token_is_no_answer():
    built, tok = model("transformer"), tokenizer()
    ids = [tok.eos_id, *(tok.encode(TEXTS[0]) * 3)][:94]
    [[answer]] = BeamSearch(built, tok, beams=3).answers([Request(ids)])
    assert len(answer.ids) <= 3
    [[empty]] = BeamSearch(built, tok, beams=3).answers([Request(ids, sampling(max_tokens=0))])
    assert (empty.ids, empty.finish) == ((), "length")


def test_many_requests_are_searched_some_at_a_time_and_answers_do_not_depend_on_it(monkeypatch):
    built, tok = model("transformer"), tokenizer()
    asked = requests(built, count=9)
    whole = [found.text for found in written(built, tok, asked, beams=4)]
    monkeypatch.setattr("yanmo.inference.beam.ROWS", 8)
    assert [found.text for found in written(built, tok, asked, beams=4)] == whole
    greedy = [found.text for found in written(built, tok, asked)]
    assert [found.text for found in written(built, tok, asked, slots=2)] == greedy
    assert whole != greedy
    assert written(built, tok, []) == []


def test_a_saved_model_generates_by_beams(tmp_path):
    for kind in ("transformer", "t5"):
        built, tok = of_kind(kind), tokenizer()
        save(tmp_path / kind, built, tok)
        opened = yanmo.load(tmp_path / kind)
        greedy = opened.generate(TEXTS[0], temperature=0, max_tokens=8)
        found = opened.generate(TEXTS[0], temperature=0, max_tokens=8, beams=4)
        ids = tok.encode(TEXTS[0])
        request = Request([tok.eos_id, *ids]) if kind == "transformer" else Request([tok.pad_id], source=tok.add_special(ids).ids)
        request = Request(request.ids, sampling(max_tokens=8, temperature=0.0), request.source)
        assert found == BeamSearch(opened.loaded.model, tok, 4).complete([request])[0].text != greedy
        for wrong in ({"beams": 4}, {"beams": 0, "temperature": 0}, {"length_penalty": 1.0, "temperature": 0}, {"beams": 2, "temperature": 0, "stop": "x"}):
            with pytest.raises(RequestError):
                opened.generate(TEXTS[0], **wrong)
