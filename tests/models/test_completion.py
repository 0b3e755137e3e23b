"""Completion: against a sorted list, in both languages, folded, saved; what nobody asked for; its measures; its speed."""

from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.errors import CorruptError, DataError
from yanmo.models.base import Inputs
from yanmo.models.completion import Completion, CompletionModel, Phrases, folded, measure
from yanmo.models.store import load, save
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer

QUERIES = [
    *["weather"] * 5, *["Weather  tomorrow"] * 3, "weather tomorrow", "what is ink", *["what is a whale"] * 2, "New York", "new york",
    "New York", *["天气预报"] * 4, *["天气"] * 2, "天气预报明天", *["研墨"] * 3, "研墨的方法", "Café", "cafe\u0301", "ＧＰＴ", "🙂 ink",
    "straße", "STRASSE",
]  # fmt: skip


def fitted(lines, tokenizer, **fields):
    ids = [token for row in tokenizer.encode_batch(lines) for token in (tokenizer.eos_id, *row)]
    return CompletionModel(**fields).fit(SimpleNamespace(tokens=np.array(ids, np.uint32)), tokenizer, Path())


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer(min_count=1).train(QUERIES)


@pytest.fixture(scope="module")
def model(tokenizer):
    return fitted(QUERIES, tokenizer)


def texts(found):
    return [completion.text for completion in found]


def test_the_most_popular_come_first_in_english_and_chinese(model):
    assert texts(model.complete("wea")) == ["weather", "Weather tomorrow"]
    assert texts(model.complete("w", 3)) == ["weather", "Weather tomorrow", "what is a whale"]
    assert texts(model.complete("天")) == ["天气预报", "天气", "天气预报明天"]
    assert texts(model.complete("天气预报明")) == ["天气预报明天"]
    assert texts(model.complete("研", 1)) == ["研墨"]
    assert texts(model.complete("", 2)) == ["weather", "Weather tomorrow"]
    assert model.complete("zebra") == []
    assert model.complete("wea", 0) == []


def test_case_width_marks_and_white_space_do_not_matter(model):
    for prefix in ("NEW Y", "  new   y", "New\tY"):
        assert texts(model.complete(prefix)) == ["New York"]
    assert texts(model.complete("weather ")) == ["Weather tomorrow"]
    assert texts(model.complete("gpt")) == ["ＧＰＴ"]
    assert model.phrases.complete("CAFÉ")[0].probability == model.phrases.complete("cafe\u0301")[0].probability == 2 / 3
    assert texts(model.complete("stras")) == ["STRASSE"]
    assert texts(model.complete("🙂")) == ["🙂 ink"]


def test_probabilities_are_shares_with_room_for_what_is_not_known(model):
    found = model.complete("天气")
    assert [completion.probability for completion in found] == pytest.approx([4 / 10, 2 / 10, 1 / 10])
    assert sum(completion.probability for completion in found) < 1


words = st.text(st.sampled_from("ab 天é😀"), min_size=0, max_size=5)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(words, max_size=25), prefix=words, k=st.integers(0, 6), least=st.integers(1, 2))
def test_it_is_what_a_sorted_list_gives(lines, prefix, k, least):
    counts = Counter(key for key in (folded(" ".join(line.split())) for line in lines) if key)
    known = [(key, n) for key, n in counts.items() if n >= least and key.startswith(folded(prefix))]
    known.sort(key=lambda item: (-item[1], item[0].encode()))
    found = Phrases.of(lines, least).complete(prefix, k)
    assert [(folded(each.text), each.probability) for each in found] == [
        (key, pytest.approx(n / (sum(m for _, m in known) + len(known)))) for key, n in known[:k]
    ]


def test_where_no_phrase_is_known_the_language_model_writes(model, tokenizer):
    found = model.complete("what is the wea", 4, tokenizer)
    assert 0 < len(found) <= 4
    assert all(each.text.startswith("what is the wea") for each in found)
    assert found[0].text == "what is the weather"
    probabilities = [each.probability for each in found]
    assert probabilities == sorted(probabilities, reverse=True)
    row = torch.tensor([[tokenizer.eos_id, *tokenizer.encode("what is the weather"), tokenizer.eos_id]])
    logs = model.logprobs(Inputs(row[:, :-1]), row[:, 1:])[0]
    assert found[0].probability == pytest.approx(math.exp(logs[15:].sum()), rel=1e-3)
    assert model.complete("明天天", 3, tokenizer)[0].text.startswith("明天天气")
    assert texts(model.complete("   ", 1, tokenizer)) == ["weather"]


def test_rare_phrases_and_long_lines_are_not_offered(tokenizer):
    model = fitted([*QUERIES, "w" * 80], tokenizer, min_count=2, longest=9)
    assert texts(model.complete("w")) == ["weather"]
    assert texts(model.complete("天")) == ["天气预报", "天气"]


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_saved_and_opened_it_offers_the_same(kind, tmp_path):
    tokenizer = CharacterTokenizer().train(QUERIES) if kind == "characters" else BpeTokenizer(size=300).train(QUERIES)
    model = fitted(QUERIES, tokenizer)
    save(tmp_path / "a", model, tokenizer)
    opened = load(tmp_path / "a")
    save(tmp_path / "b", opened.model, opened.tokenizer)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    for prefix in ("", "w", "天", "new y", "q", "ink", "何"):
        assert opened.model.complete(prefix, 5, opened.tokenizer) == model.complete(prefix, 5, tokenizer)
    assert isinstance(opened.model.phrases.keys, np.memmap)


def test_phrases_that_do_not_fit_together_are_refused(model, tokenizer, tmp_path):
    from safetensors.numpy import load_file, save_file

    save(tmp_path / "a", model, tokenizer)
    path = tmp_path / "a/phrases.safetensors"
    arrays = load_file(path)
    for name in arrays:
        for change in (lambda value: value[1:], lambda value: value.astype(np.float32)):
            save_file({k: change(v) if k == name else v for k, v in arrays.items()}, path)
            with pytest.raises(CorruptError, match="phrases"):
                load(tmp_path / "a")
    save_file({"keys": arrays["keys"]}, path)
    with pytest.raises(CorruptError, match="phrases"):
        load(tmp_path / "a")


def test_no_text_is_the_users_mistake(tokenizer):
    with pytest.raises(DataError, match="some text"):
        fitted(["", "  "], tokenizer)


def test_measures_of_known_ranks():
    offers = {"a": ["ab", "abc"], "ab": ["abc", "ab"], "x": []}
    found = measure(lambda prefix, k: [Completion(text, 0.1) for text in offers.get(prefix, [])][:k], ["abc", "xy"], k=2)
    assert found == {"mrr": (1 / 2 + 1 + 0) / 3, "success_at_1": 1 / 3, "success_at_2": 2 / 3, "n": 3}
    assert measure(lambda prefix, k: [], ["abc"], lengths=[1, 2, 9])["n"] == 2


def test_held_out_queries_are_guessed_better_the_more_of_them_is_typed(model):
    held = ["weather tomorrow", "天气预报", "研墨的方法"]
    some = [measure(model.complete, held, k=3, lengths=[length])["mrr"] for length in (1, 3)]
    assert 0 < some[0] < some[1] <= 1


def test_a_hundred_thousand_phrases_take_less_than_a_millisecond_a_prefix():
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"] + list("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")
    chosen = rng.integers(0, len(syllables), (130_000, 5))
    lines = ["".join(syllables[i] for i in row) for row in chosen.tolist()]
    phrases = Phrases.of([line for n, line in enumerate(lines) for _ in range(1 + (n % 97 == 0) * 5)])
    assert len(phrases) > 100_000
    prefixes = [line[:size] for line in lines[::130] for size in (0, 1, 2, 4)]
    phrases.complete("a", 10)
    seconds = []
    for prefix in prefixes:
        started = time.process_time()
        phrases.complete(prefix, 10)
        seconds.append(time.process_time() - started)
    assert sorted(seconds)[len(seconds) // 2] < 1e-3
