"""WordPiece: BERT's normalisation, its special tokens, what is lost and what is not."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.test_tokenizers import CORPUS, TEXTS
from yanmo.core.errors import DataError
from yanmo.text.special import BERT
from yanmo.text.tokenizer import Tokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

SAMPLES = Path(__file__).parents[2] / "yanmo" / "samples"


@pytest.fixture(scope="module")
def trained():
    return WordPieceTokenizer(size=210).train(CORPUS)


def shown(tokenizer, text):
    return [tokenizer.inner.id_to_token(token) for token in tokenizer.encode(text)]


def test_berts_special_tokens_come_first(trained):
    assert list(trained.special) == list(BERT)
    assert [trained.pad_id, trained.unk_id, trained.cls_id, trained.sep_id, trained.mask_id] == [0, 1, 2, 3, 4]
    assert (trained.bos_id, trained.eos_id) == (2, 3)
    assert trained.size == 210
    assert not trained.lossless
    assert trained.chat_template is None


def test_words_and_characters(trained):
    assert shown(trained, "Some YEARS ago.") == ["some", "years", "ago", "."]
    assert shown(trained, "天下大势，some") == ["天", "下", "大", "势", "，", "some"]
    assert shown(trained, "齉") == ["[UNK]"]
    assert shown(trained, "cafe\u0301")[0][0] == "c"
    cased = WordPieceTokenizer(size=210, lowercase=False).train(CORPUS)
    assert shown(cased, "A mixed line") == ["A", "mixed", "line"]


def test_accents_go_with_case_alone():
    texts = ["École école Ecole"] * 3
    assert len({tuple(WordPieceTokenizer().train(texts).encode(word)) for word in texts[0].split()}) == 1
    cased = WordPieceTokenizer(lowercase=False).train(texts)
    assert len({tuple(cased.encode(word)) for word in texts[0].split()}) == 3


def test_unspaced_chinese_makes_no_words_and_no_pieces_within_words(trained):
    made = WordPieceTokenizer().train(["话说天下大势分久必合" * 100])
    assert sorted(made.inner.get_vocab()) == sorted([*BERT, *set("话说天下大势分久必合")])


def test_a_long_word_is_cut_and_not_unknown(trained):
    assert trained.unk_id not in trained.encode("a" * 1000)
    assert trained.unk_id not in trained.encode("1" * 1000)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_decodes_as_the_encoders_own_decoder_does_and_streams_alike(trained, text):
    ids = trained.encode(text)
    assert trained.decode(ids) == trained.inner.decode(ids)
    assert trained.decode(ids, skip_special=False) == trained.inner.decode(ids, skip_special_tokens=False)
    stream = trained.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == trained.decode(ids)
    assert stream.take(ids) == trained.decode(ids)  # flushed: at the beginning again
    assert trained.encode_batch([text, "x"]) == [ids, trained.encode("x")]


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("abcé İ研墨\u3000\n.,'", max_size=40))
def test_offsets_are_slices_in_order(trained, text):
    spans = trained.offsets(text)
    assert len(spans) == len(trained.encode(text))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    for token, (start, end) in zip(trained.encode(text), spans):
        if token != trained.unk_id and text.isascii():
            assert trained.inner.id_to_token(token).removeprefix("##") == text[start:end].lower()


def test_names_of_special_tokens_are_text(trained):
    assert not set(trained.encode("[CLS] a [SEP] [MASK] [PAD]")) & {0, 2, 3, 4}


def test_texts_and_pairs_are_framed(trained):
    a, b = trained.encode("call me"), trained.encode("大势")
    assert trained.add_special(a) == ([2, *a, 3], [0] * (len(a) + 2))
    assert trained.add_special(a, b) == ([2, *a, 3, *b, 3], [0] * (len(a) + 2) + [1] * (len(b) + 1))
    assert trained.add_special([]) == ([2, 3], [0, 0])
    assert trained.add_special([], []) == ([2, 3, 3], [0, 0, 1])


def test_it_is_saved_and_loads_as_it_was(trained, tmp_path):
    trained.save(tmp_path / "a")
    loaded = Tokenizer.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for copy in (loaded, pickle.loads(pickle.dumps(trained)), WordPieceTokenizer(size=210).train(iter(CORPUS))):
        assert (copy.names, copy.size, copy.lossless) == (trained.names, trained.size, trained.lossless)
        assert all(copy.encode(text) == trained.encode(text) for text in TEXTS.values())
        assert copy.inner.to_str() == trained.inner.to_str()


def test_transformers_loads_it_and_gives_the_same(trained, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    trained.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.pad_token_id, theirs.mask_token_id, theirs.unk_token_id, theirs.eos_token_id) == (0, 4, 1, 3)
    for name, text in TEXTS.items():
        if name != "names":
            ids = theirs(text)["input_ids"]
            assert trained.add_special(trained.encode(text)).ids == ids
            assert trained.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
            assert trained.decode(ids, skip_special=False) == theirs.decode(ids)


SCRIPT = """
import hashlib, json, sys
from yanmo.text.wordpiece import WordPieceTokenizer
texts = [json.loads(line)["text"] for path in sys.argv[1:] for line in list(open(path, encoding="utf-8"))[:4]]
print(hashlib.sha256(WordPieceTokenizer(size=3000).train(texts).inner.to_str().encode()).hexdigest())
"""


def test_the_number_of_threads_and_the_hash_seed_change_nothing():
    paths = [str(SAMPLES / name / "chapters.jsonl") for name in ("moby_dick", "sanguo")]
    found = set()
    for threads, seed in (("1", "0"), ("3", "1"), ("2", "2")):
        changed = {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true", "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], env={**os.environ, **changed}, text=True,
                              capture_output=True, check=True, cwd=SAMPLES.parents[1])  # fmt: skip
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert len(found.pop()) == 64


def test_a_size_is_met_exactly_or_refused():
    for size in (100, 175):
        assert WordPieceTokenizer(size=size).train(CORPUS).size == size
    with pytest.raises(DataError) as caught:
        WordPieceTokenizer(size=100_000).train(CORPUS)
    most = caught.value.expected.values["most"]
    assert WordPieceTokenizer(size=most).train(CORPUS).size == most
    with pytest.raises(DataError, match=f"at most {most} tokens"):
        WordPieceTokenizer(size=most + 1).train(CORPUS)


def test_the_rarest_characters_are_unknown_where_there_is_no_room():
    texts = ["的" * 50 + "一" * 40 + "齉" * 2 + "".join(chr(0x4E00 + i) * 3 for i in range(100))]
    made = WordPieceTokenizer().train(texts, at_most=60)
    assert made.size <= 60
    assert made.unk_id not in made.encode("的一")
    assert made.encode("齉") == [made.unk_id]


def test_no_text_makes_one_that_knows_nothing():
    made = WordPieceTokenizer().train([])
    assert made.size == len(BERT)
    assert made.encode("研墨 Yanmo") == [made.unk_id] * 3
