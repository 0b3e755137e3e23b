"""The report on a tokenizer: every figure against one counted by hand."""

from __future__ import annotations

import json

import pytest

from tests.text.test_loading import byte_level, write
from yanmo import cli
from yanmo.core.errors import DataError, RequestError
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.pieces import byte_characters
from yanmo.text.report import compare, report, table
from yanmo.text.tokenizer import Tokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

ENGLISH, CHINESE = "the sea, it's wide", "天下大势，分久必合"


def refuse(path):
    raise AssertionError(f"no GGUF file was given, {path} was read as one")


@pytest.fixture(scope="module")
def characters():
    return CharacterTokenizer(min_count=1).train([ENGLISH, "天下大势，分久"])


def test_the_figures_of_characters(characters):
    found = report(characters, [ENGLISH, CHINESE])
    assert found["languages"]["en"] == {"texts": 1, "bytes": 18, "tokens": 18, "bytes_per_token": 1.0, "tokens_per_word": 18 / 4,
                                        "tokens_per_han": None, "unknown": 0.0}  # fmt: skip
    tokens = 7 + 6  # the last two Chinese characters by their bytes
    assert found["languages"]["zh"] == {"texts": 1, "bytes": 27, "tokens": tokens, "bytes_per_token": 27 / tokens,
                                        "tokens_per_word": None, "tokens_per_han": tokens / 8, "unknown": 0.0}  # fmt: skip
    assert found["all"]["tokens"] == 18 + tokens
    assert found["lossless"]
    used = set(characters.encode(ENGLISH + CHINESE))
    assert found["unused"] == characters.size - 4 - len(used)
    assert found["size"] == characters.size


def test_tokens_that_nothing_becomes_are_found(tmp_path):
    merged = Tokenizer.load(write(tmp_path / "a", byte_level("<|endoftext|>", merges=(("a", "b"), ("c", "d")), extra=("xy", "Ġqq"))))
    found = report(merged, ["abcd"])
    assert found["unreachable"] == 2  # in the vocabulary, made by no merge
    assert sorted(found["unreachable_examples"]) == [" qq", "xy"]
    assert found["longest_used"] == ["ab", "cd"]
    assert found["unused"] == 256 + 2 + 2 - 2 - 1  # the padding that stands in is not counted


def test_wordpiece(tmp_path):
    made = WordPieceTokenizer().train(["the sea the seas 天下 wide"] * 4)
    found = report(made, ["the Seas 齉", "天下 齉 天"])
    assert found["languages"]["en"]["unknown"] == pytest.approx(1 / 3)
    assert found["languages"]["zh"]["unknown"] == pytest.approx(1 / 4)
    assert (found["unreachable"], found["doubles"], found["lossless"]) == (0, 0, False)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "The", "a.b", "##s", "s"]))
    found = report(Tokenizer.load(tmp_path), ["the"])
    assert sorted(found["unreachable_examples"]) == [" The", " a.b"]
    assert found["doubles"] == 1  # The is the


def test_side_by_side(characters, tmp_path, capsys):
    characters.save(tmp_path / "run" / "tokenizer")
    write(tmp_path / "bytes", byte_level("<|endoftext|>"))
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": ENGLISH}) + "\n" + json.dumps({"text": CHINESE}) + "\n")
    arguments = ["tokenizer-report", str(tmp_path / "run"), str(tmp_path / "t.jsonl"), "--beside", str(tmp_path / "bytes")]
    assert cli.main([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tokenizers"]
    assert [row["all"]["tokens"] for row in rows] == [31, 45]
    assert rows[1]["languages"]["zh"]["tokens_per_han"] == 27 / 8
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "bytes per token (zh)" in shown
    assert "ÿ stands in" in shown
    assert shown.splitlines() == table(rows)


def test_a_gguf_file_is_read_by_whoever_reads_them(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.eos_token_id": 256,
                "tokenizer.ggml.tokens": [*byte_characters(), "<|endoftext|>"],
                "tokenizer.ggml.token_type": [1] * 256 + [3], "tokenizer.ggml.merges": []}  # fmt: skip
    (tmp_path / "t.txt").write_text("研墨")
    assert compare([str(tmp_path / "m.gguf")], str(tmp_path / "t.txt"), lambda path: metadata)[0]["all"]["tokens"] == 6


def test_the_samples_are_the_text_where_none_is_given(characters, tmp_path):
    characters.save(tmp_path)
    found = compare([str(tmp_path)], None, refuse)[0]
    assert found["languages"]["en"]["bytes"] > 1_000_000
    assert found["languages"]["zh"]["tokens_per_han"] > 1


@pytest.mark.parametrize(
    ("tokenizer", "text", "error", "expected"),
    [
        ("none", None, RequestError, "expected a tokenizer, got no such file"),
        ("run", "none.txt", RequestError, "expected a file of text, got no such file"),
        ("run", "empty.txt", DataError, "expected some text, got none"),
        ("run", "bad.txt", DataError, "expected UTF-8 text, got"),
        ("run", "bad.jsonl", DataError, "bad.jsonl:2: expected a JSON object with 'text', got {}"),
    ],
)
def test_what_is_wrong_is_said(characters, tmp_path, monkeypatch, tokenizer, text, error, expected):
    monkeypatch.chdir(tmp_path)
    characters.save("run")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{}\n')
    with pytest.raises(error) as caught:
        compare([tokenizer], text, refuse)
    assert expected in str(caught.value)
