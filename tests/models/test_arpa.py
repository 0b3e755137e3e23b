"""ARPA files: written and read back the same model, those of other programs by their definition, wrong ones by their line."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.test_ngram import BORDER, CHINESE, CORPORA, ENGLISH, Split, fitted, stream
from yanmo.core.errors import DataError
from yanmo.models import arpa
from yanmo.models.base import Inputs
from yanmo.models.ngram import NgramFamily, NgramModel
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer

# As SRILM writes one: a remark above, back-off weights where they are wanted, <s> with -99, an n-gram whose own suffix
# and one whose own context the file lacks (entropy pruning), a <unk>.
SRILM = """a remark
\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-0.9\t</s>
-99\t<s>\t-0.3
-0.7\t研\t-0.2
-0.8\t墨\t-0.1
-1.1\tink\t-0.25
-1.5\t<unk>

\\2-grams:
-0.25\t<s> 研\t-0.05
-0.30\t研 墨\t0.02
-0.6\t墨 </s>
-0.4\tink 研

\\3-grams:
-0.11\t<s> 研 墨
-0.2\tink ink 墨

\\end\\
"""


def slowly(source: str, words: list[str]) -> float:
    """log10 p of the last word after the others, by the definition."""
    table: dict[tuple[str, ...], tuple[float, float]] = {}
    for line in source.splitlines():
        fields = line.split()
        if fields and fields[0].lstrip("-")[:1].isdigit():
            weight = 0.0
            try:
                weight = float(fields[-1])
                fields = fields[:-1]
            except ValueError:
                pass
            table[tuple(fields[1:])] = (float(fields[0]), weight)
    words = [word if (word,) in table else "<unk>" for word in words]
    total = 0.0
    for start in range(len(words)):
        gram = tuple(words[start:])
        if gram in table:
            return total + table[gram][0]
        total += table.get(gram[:-1], (0.0, 0.0))[1] if len(gram) > 1 else 0.0
    raise AssertionError(words)


def written(folder: Path, source: str, name: str = "x.arpa") -> Path:
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def test_a_model_that_backs_off_is_its_definition(tmp_path):
    model, words = arpa.read(written(tmp_path, SRILM))
    assert words == ["<unk>", "</s>", "研", "墨", "ink"]
    assert (model.order, model.vocabulary) == (3, 5)
    numbers = {word: number for number, word in enumerate(words)} | {"<s>": 1}
    for context in ([], ["<s>"], ["研"], ["ink"], ["<s>", "研"], ["研", "墨"], ["ink", "ink"], ["墨", "ink"], ["<unk>", "墨"],
                    ["ink", "研"], ["墨", "墨"]):  # fmt: skip
        if context:
            row = Inputs(torch.tensor([[numbers[word] for word in context]]))
            logits = model(row).logits[0, -1]
        for word in words:
            expected = slowly(SRILM, [*context[-2:], word]) * math.log(10)
            if context:
                targets = torch.tensor([[0] * (len(context) - 1) + [numbers[word]]])
                assert model.logprobs(row, targets)[0, -1].item() == pytest.approx(expected, abs=2e-5), (context, word)
                assert logits[numbers[word]].item() == pytest.approx(expected, abs=2e-5)
            else:
                assert math.log(model.trie.unigram[numbers[word]]) == pytest.approx(expected, abs=1e-5)


def test_it_is_saved_and_opened_like_any_other(tmp_path):
    model, _ = arpa.read(written(tmp_path, SRILM))
    config = NgramFamily().write(model, tmp_path)
    row = Inputs(torch.tensor([[1, 2, 3, 4, 4, 3]]))
    assert torch.equal(NgramFamily().read(tmp_path, config)(row).logits, model(row).logits)


def test_a_gzip_is_read_and_line_ends_and_spaces_are_anyones(tmp_path):
    first, _ = arpa.read(written(tmp_path, SRILM))
    (tmp_path / "x.arpa.gz").write_bytes(gzip.compress(SRILM.replace("\t", " ").replace("\n", "\r\n").encode()))
    second, _ = arpa.read(tmp_path / "x.arpa.gz")
    assert np.array_equal(first.trie.share, second.trie.share)


@pytest.mark.parametrize("fields", [{"order": 1}, {"order": 2}, {"order": 4}, {"order": 4, "prune": [1, 1, 2]}])
@pytest.mark.parametrize("tokenizer", ["characters", "bpe"])
def test_written_and_read_it_says_the_same(tmp_path, fields, tokenizer):
    texts = [*ENGLISH, *CHINESE, "<s> a \\ b\u3000c\u00a0<unk>\n\n  </s>"]
    made = CharacterTokenizer(min_count=1).train(texts) if tokenizer == "characters" else BpeTokenizer(size=300).train(texts)
    documents = made.encode_batch(texts)
    model = NgramModel(**fields).fit(Split(stream(documents)), made, tmp_path)
    words = arpa.words_of(made)
    assert len(set(words)) == made.size
    assert not any(set(word) & set(" \t\n\u3000\u00a0") for word in words)
    arpa.write(tmp_path / "a.arpa", model, words, made.eos_id)
    numbers = {word: number for number, word in enumerate(words)}
    again, names = arpa.read(tmp_path / "a.arpa", numbers, made.size, made.eos_id)
    assert names == [*words[: made.eos_id], "</s>", *words[made.eos_id + 1 :]]
    for ids in documents:
        rows = torch.tensor([[made.eos_id, *ids]])
        torch.testing.assert_close(again(Inputs(rows)).logits, model(Inputs(rows)).logits, rtol=0, atol=5e-5)
    assert again.ngrams[1:] == model.ngrams[1:]
    arpa.write(tmp_path / "b.arpa", again, words, made.eos_id)
    first, second = ((tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("a.arpa", "b.arpa"))
    assert len(first) == len(second)
    for one, other in zip(first, second):
        a, b = one.split("\t"), other.split("\t")
        assert a[1:2] == b[1:2]
        assert a[0] == b[0] or float(a[0]) == pytest.approx(float(b[0]), abs=2e-5)


def test_what_is_written_sums_to_one_by_the_definition(tmp_path):
    documents, vocabulary = CORPORA["sparse"]
    model = fitted(documents, vocabulary, order=3)
    words = [f"w{number}" for number in range(vocabulary)]
    arpa.write(tmp_path / "a.arpa", model, words, BORDER)
    source = (tmp_path / "a.arpa").read_text()
    line = ["<s>", *(words[token] for token in documents[0])]
    for end in (1, 2, 5):
        context = line[max(end - 2, 0) : end]
        table = source.splitlines()
        assert table[0] == "\\data\\"
        row = Inputs(torch.tensor([[BORDER, *documents[0]][:end]]))
        logits = model(row).logits[0, -1]
        for number in (BORDER, 5, documents[0][end - 1], vocabulary - 1):
            word = "</s>" if number == BORDER else words[number]
            assert slowly(source, [*context, word]) * math.log(10) == pytest.approx(logits[number].item(), abs=1e-5)


def test_tokens_that_the_file_lacks_share_the_unknown_words_probability(tmp_path):
    numbers = {"研": 4, "墨": 7, "ink": 5}
    model, words = arpa.read(written(tmp_path, SRILM), numbers, 9)
    assert words == ["", "</s>", "", "", "研", "ink", "", "墨", ""]
    assert model.trie.unigram.sum() == pytest.approx(sum(10**p for p in (-0.9, -0.7, -0.8, -1.1, -1.5)), rel=1e-5)
    assert model.trie.unigram[8] == pytest.approx(10**-1.5 / 5, rel=1e-5)
    row = Inputs(torch.tensor([[1, 4]]))
    assert model.logprobs(row, torch.tensor([[4, 7]]))[0, 1].item() == pytest.approx(-0.11 * math.log(10), abs=1e-5)


BROKEN = [
    ("\\data\\", "data", 25, r"\\data\\.*end of the file"),
    ("ngram 1=6", "ngram 1=six", 3, "ngram 1="),
    ("ngram 2=4", "ngram 3=4", 4, "ngram 2="),
    ("ngram 1=6", "ngram 1=7", 14, "7 n-grams of length 1.*got 6"),
    ("ngram 1=6", "ngram 1=5", 13, "5 n-grams of length 1.*more"),
    ("ngram 2=4", "ngram 2=9", 20, "9 n-grams of length 2.*got 4"),
    ("\\2-grams:", "\\3-grams:", 15, r"\\2-grams:"),
    ("-0.30\t研 墨", "x\t研 墨", 17, "a logarithm of a probability, got x"),
    ("-0.30\t研 墨", "nan\t研 墨", 17, "a logarithm of a probability"),
    ("-0.30\t研 墨", "0.5\t研 墨", 17, "a logarithm of a probability, got 0.5"),
    ("-0.30\t研 墨\t0.02", "-0.30\t研 墨\tinf", 17, "a logarithm of a weight"),
    ("-0.30\t研 墨\t0.02", "-0.30\t研", 17, "a number and 2 words"),
    ("-0.4\tink 研", "-0.4\tink 砚", 19, "among the 1-grams, got 砚"),
    ("-0.4\tink 研", "-0.4\t墨 </s>", 19, "each n-gram once"),
    ("-0.4\tink 研", "-0.4\tink <s>", 19, "at the beginning alone"),
    ("\\end\\", "", 24, r"\\end\\.*end of the file"),
    ("-0.2\tink ink 墨\n\n\\end\\\n", "", 22, "2 n-grams of length 3.*got 1"),
]


@pytest.mark.parametrize(("old", "new", "line", "said"), BROKEN)
def test_what_is_wrong_is_said_with_its_line(tmp_path, old, new, line, said):
    assert old in SRILM
    with pytest.raises(DataError, match=said) as caught:
        arpa.read(written(tmp_path, SRILM.replace(old, new, 1)))
    place = str(caught.value).split(": ")[0]
    assert place.startswith(str(tmp_path / "x.arpa") + ":")
    assert abs(int(place.rsplit(":", 1)[1]) - line) <= 1, place
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"\x00" * 500, b"\x1f\x8b broken", "研墨".encode() * 9999):
        (tmp_path / "x.arpa").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.arpa"):
            arpa.read(tmp_path / "x.arpa")
    (tmp_path / "x.arpa.gz").write_bytes(gzip.compress(SRILM.encode())[:-20])
    with pytest.raises(DataError, match=r"x\.arpa\.gz"):
        arpa.read(tmp_path / "x.arpa.gz")
    with pytest.raises(DataError, match="no such file"):
        arpa.read(tmp_path / "none.arpa")
    with pytest.raises(DataError, match="a word of the tokenizer, got ink"):
        arpa.read(written(tmp_path, SRILM), {"研": 4, "墨": 7}, 9)
    model = fitted([[2, 3]], 4, order=2)
    with pytest.raises(DataError, match="4 words"):
        arpa.write(tmp_path / "y.arpa", model, ["a"], BORDER)
    assert not (tmp_path / "y.arpa").exists()
