"""Tokenizers of others: their files, made here as small as they go, and read as `transformers` reads them."""

from __future__ import annotations

import base64
import hashlib
import json
import time

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from tests.text.test_tokenizers import CHINESE, CORPUS, ENGLISH, TEXTS
from yanmo.core.errors import DataError
from yanmo.text import loading, ranks
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.patterns import NAMED, WAYS
from yanmo.text.pieces import byte_characters
from yanmo.text.tokenizer import Tokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

BYTES = {character: token for token, character in enumerate(byte_characters())}


def byte_level(*names: str, merges: tuple = (), extra: tuple = ()) -> tokenizers.Tokenizer:
    """GPT-2's kind: the 256 bytes, merges, then `names` as special tokens."""
    vocabulary = BYTES | {a + b: 256 + at for at, (a, b) in enumerate(merges)}
    vocabulary |= {name: len(vocabulary) + at for at, name in enumerate((*extra, *names))}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(name, special=True) for name in names])
    return inner


def metaspace(prepend: str = "always") -> tokenizers.Tokenizer:
    """T5's and XLNet's kind: Unigram over words that begin with ▁."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("sea", -4.0), ("研", -4.5), ("墨", -4.5)]
    pieces += [(character, -5.0) for character in "abcdefghijklmnopqrstuvwxyz."]
    inner = tokenizers.Tokenizer(models.Unigram(pieces, 2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    inner.decoder = decoders.Metaspace(prepend_scheme=prepend)
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    inner.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return inner


def llama2() -> tokenizers.Tokenizer:
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "研"]
    inner = tokenizers.Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, [("▁", "a")], unk_token="<unk>",
                                            fuse_unk=True, byte_fallback=True))  # fmt: skip
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    inner.add_special_tokens(["<unk>", "<s>", "</s>"])
    return inner


KINDS = {
    "gpt2": lambda: (byte_level("<|endoftext|>"), {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}),
    "roberta": lambda: (roberta(), {"eos_token": "</s>", "pad_token": "<pad>", "mask_token": {"__type": "AddedToken", "content": "<mask>"}}),
    "qwen": lambda: (byte_level("<|endoftext|>", "<|im_start|>", "<|im_end|>"), {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None}),
    "t5": lambda: (metaspace(), {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}),
    "first": lambda: (metaspace("first"), {}),
    "llama2": lambda: (llama2(), {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}),
    "bert": lambda: (WordPieceTokenizer(size=200).train(CORPUS).inner, {}),
    "ours": lambda: (BpeTokenizer(size=300).train(CORPUS).inner, {}),
    "characters": lambda: (CharacterTokenizer(special=("<mask>",)).train(CORPUS).inner, {}),
}  # fmt: skip


def roberta() -> tokenizers.Tokenizer:
    inner = byte_level("<s>", "<pad>", "</s>", "<unk>", "<mask>", merges=(("t", "h"), ("Ġ", "th")))
    numbers = {name: inner.token_to_id(name) for name in ("<s>", "</s>")}
    inner.post_processor = processors.RobertaProcessing(("</s>", numbers["</s>"]), ("<s>", numbers["<s>"]))
    return inner


def write(folder, inner, config=None, **files):
    folder.mkdir(exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config}))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.fixture(scope="module", params=KINDS, ids=list(KINDS))
def pair(request, tmp_path_factory):
    """A published tokenizer as `transformers` opens it and as we do."""
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    folder = write(tmp_path_factory.mktemp("hf") / "m", *KINDS[request.param]())
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder), Tokenizer.load(folder)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_ids_and_text_are_theirs(pair, text):
    theirs, ours = pair
    ids = ours.encode(text)
    assert ids == theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    framed = theirs(text, split_special_tokens=True, return_token_type_ids=True)
    assert ours.add_special(ids) == (framed["input_ids"], framed["token_type_ids"])
    both = [ours.decode(ids), theirs.decode(ids, skip_special_tokens=True)]
    assert both[0] == both[1] or both[1] == both[0] + "\ufffd"  # a character that is only begun: we leave it out
    assert ours.encode_batch([text, text]) == [ids, ids]


def test_the_special_tokens_are_shown_as_theirs(pair):
    theirs, ours = pair
    ids = theirs("a the sea.")["input_ids"]
    assert ours.decode(ids, skip_special=False) == theirs.decode(ids)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("the sea▁研墨\n\u3000é.", max_size=30))
def test_any_text_is_streamed_as_it_is_decoded_and_offsets_are_slices(pair, text):
    _, ours = pair
    ids = ours.encode(text)
    stream = ours.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == ours.decode(ids)
    if ours.lossless:
        assert ours.decode(ids) == text
    spans = ours.offsets(text)
    assert len(spans) == len(ids)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert spans == sorted(spans)


def test_it_is_saved_as_the_same(pair, tmp_path):
    _, ours = pair
    ours.save(tmp_path / "a")
    again = Tokenizer.load(tmp_path / "a")
    assert (again.names, again.special, again.size, again.lossless) == (ours.names, ours.special, ours.size, ours.lossless)
    assert (again.pad_id, again.eos_id, again.bos_id) == (ours.pad_id, ours.eos_id, ours.bos_id)
    assert all(again.encode(text) == ours.encode(text) for text in TEXTS.values())
    again.save(tmp_path / "b")
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_padding_never_ends_a_text(pair):
    _, ours = pair
    assert ours.pad_id != ours.eos_id
    assert not any(ours.pad_id in ours.encode(text) for text in TEXTS.values())
    assert ours.decode([ours.pad_id]) == ""
    assert ours.bytes_of([ours.pad_id, ours.eos_id]) == 0


@pytest.mark.parametrize(
    ("inner", "config", "pad", "note"),
    [
        (byte_level("<|endoftext|>"), {}, "ÿ", "no token for padding: ÿ stands in"),
        (byte_level("<|endoftext|>"), {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}, "ÿ",
         "padding was <|endoftext|>, which ends a text: ÿ stands in"),
        (byte_level("<|endoftext|>", "<|reserved_7|>"), {}, "<|reserved_7|>", "no token for padding: <|reserved_7|> stands in"),
        (llama2(), {}, "<unk>", "no token for padding: <unk> stands in"),
        (byte_level("<s>", "</s>", "<pad>"), {}, "<pad>", None),
    ],
)  # fmt: skip
def test_what_stands_in_for_padding(tmp_path, inner, config, pad, note):
    ours = Tokenizer.load(write(tmp_path / "m", inner, config))
    assert ours.pad == pad
    assert [str(each) for each in ours.notes] == ([note] if note else [])
    assert ours.size == len(inner.get_vocab())  # no larger than the model's embedding


def test_the_ids_of_a_models_settings_count_where_the_tokenizers_are_silent(tmp_path):
    inner = byte_level("<a>", "<b>", "<c>")
    folder = write(tmp_path / "m", inner)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": [257, 258], "bos_token_id": 256, "pad_token_id": 258}))
    ours = Tokenizer.load(folder)
    assert (ours.bos, ours.eos, ours.pad) == ("<a>", "<b>", "<c>")
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "<c>"}, "pad_token": "<b>"}))
    assert (Tokenizer.load(folder).eos_id, Tokenizer.load(folder).pad_id) == (258, 257)


def test_fixed_padding_and_truncation_are_taken_off(tmp_path):
    inner = byte_level("<|endoftext|>", "<pad>")
    inner.enable_padding(length=100, pad_id=257, pad_token="<pad>")
    inner.enable_truncation(5)
    ours = Tokenizer.load(write(tmp_path / "m", inner))
    assert ours.encode("a longer text") == [BYTES[c] for c in "aĠlongerĠtext"]


def test_the_older_files_of_bert(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "sea", "##s", "研", "墨"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    ours = Tokenizer.load(tmp_path)
    assert ours.add_special(ours.encode("The SEAS 研墨")).ids == [2, 5, 6, 7, 8, 9, 3]
    assert (ours.pad_id, ours.unk_id, ours.mask_id, ours.eos_id) == (0, 1, 4, 3)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert Tokenizer.load(tmp_path).encode("The sea") == [1, 6]
    (tmp_path / "vocab.txt").write_text("\n".join([*pieces, "sea"]), encoding="utf-8")
    with pytest.raises(DataError, match=r"vocab.txt: expected each token once, got 'sea'"):
        Tokenizer.load(tmp_path)


def test_the_older_files_of_gpt2_and_roberta(tmp_path):
    vocabulary = BYTES | {"th": 256, "Ġth": 257, "<|endoftext|>": 258}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(DataError, match=r"expected vocab.json with merges.txt beside it, got no merges.txt in it"):
        Tokenizer.load(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt h\nĠ th\n", encoding="utf-8")
    ours = Tokenizer.load(tmp_path)
    assert ours.encode("th th") == [256, 257]
    assert ours.eos_id == 258
    assert ours.lossless
    (tmp_path / "merges.txt").write_text("t h\nx yz\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"merges.txt: expected merges of the vocabulary's pieces, got"):
        Tokenizer.load(tmp_path)
    (tmp_path / "merges.txt").write_text("t h e\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"merges.txt:1: expected two pieces with one space between them, got t h e"):
        Tokenizer.load(tmp_path)


def test_an_added_token_that_is_text_is_spelled_as_it_is_written(tmp_path):
    inner = byte_level("<|endoftext|>")
    inner.add_tokens([AddedToken("ü", normalized=False)])  # no byte: DeepSeek's vocabularies have such
    ours = Tokenizer.load(write(tmp_path / "m", inner))
    assert ours.lossless
    for text in ("Führer", "ü", "Ă¼"):
        assert ours.decode(ours.encode(text)) == text
    assert [ours.offsets("aüb")[at] for at in range(3)] == [(0, 1), (1, 2), (2, 3)]


# ------------------------------------------------------------------------------------------ what no tokenizer may do


def broken(inner) -> dict:
    return json.loads(inner.to_str())


def spoiled(change):
    def make() -> str:
        source = broken(byte_level("<|endoftext|>", merges=(("t", "h"),)))
        change(source)
        return json.dumps(source)

    return make


def _far(source):
    source["added_tokens"][0]["id"] = 10**9
    source["model"]["vocab"]["<|endoftext|>"] = 10**9


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (lambda: "{" * 100_000, "expected a tokenizer, got"),
        (lambda: '{"model":' + "[" * 100_000 + "]" * 100_000 + "}", "expected a tokenizer, got"),
        (spoiled(_far), "expected token ids below 4194304, got '<|endoftext|>': 1000000000"),
        (spoiled(lambda s: s["model"]["vocab"].update({"th": 7})), "expected one token for each id, got 7:"),
        (spoiled(lambda s: s["model"]["vocab"].pop("th")), "expected a tokenizer, got"),
        (spoiled(lambda s: s["model"].pop("merges")), "expected a tokenizer, got"),
        (spoiled(lambda s: s["model"].update(vocab={}, merges=[]) or s.update(added_tokens=[])), "expected a tokenizer, got an empty vocabulary"),
        (spoiled(lambda s: s.update(decoder={"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True})),
         "expected a decoder that works piece by piece, got CTC"),
        (spoiled(lambda s: s.update(model={"type": "WordLevel", "vocab": {"<|endoftext|>": 0}, "unk_token": "none"})),
         "expected a tokenizer that takes any text"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_at_once(tmp_path, source, expected):
    (tmp_path / "tokenizer.json").write_text(source())
    started = time.process_time()
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.process_time() - started < 5


def test_a_token_written_twice_is_refused(tmp_path):
    source = json.dumps(broken(byte_level("<|endoftext|>", "</s>", extra=("xy",))), ensure_ascii=False)
    (tmp_path / "tokenizer.json").write_text(source.replace('"xy": 256', '"!": 256'), encoding="utf-8")
    with pytest.raises(DataError, match=r"expected each token once, got '!'"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", r"^(\w+\s?)*$"])
def test_a_pattern_that_never_ends_is_refused_in_bounded_time(tmp_path, pattern, capfd):
    inner = byte_level("<|endoftext|>")
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # fmt: skip
    started = time.process_time()
    with pytest.raises(DataError, match="expected a pattern that cuts any text, got"):
        Tokenizer.load(write(tmp_path / "m", inner))
    assert time.process_time() - started < 10
    capfd.readouterr()  # the trace that Rust writes by itself


def test_a_pattern_that_gives_up_later_is_an_error_of_ours(tmp_path, capfd):
    inner = byte_level("<|endoftext|>")
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex("(q+)+$"), "isolated"),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # fmt: skip
    ours = Tokenizer.load(write(tmp_path / "m", inner))
    for call in (ours.encode, ours.offsets, lambda text: ours.encode_batch([text])):
        with pytest.raises(DataError, match="expected a pattern that cuts any text, got"):
            call("q" * 60 + "!")
    assert ours.encode("q!") == [BYTES["q"], BYTES["!"]]
    capfd.readouterr()


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "LARGEST", 1000)
    for name in ("tokenizer.json", "tokenizer.model", "x.tiktoken", "vocab.txt"):
        file = tmp_path / name
        file.write_bytes(b"IQ== 0\n" * 500)
        with pytest.raises(DataError, match="expected at most 1000 bytes, got 3500"):
            Tokenizer.load(file)


# ------------------------------------------------------------------------------------------ tiktoken's ranks


def rank_file(merged: tuple[bytes, ...] = (b"th", b"the", b" the", b"\xe7\xa0", "研".encode())) -> bytes:
    pieces = [bytes([byte]) for byte in range(256)] + list(merged)
    return b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces))


SPECIAL = {"<|endoftext|>": 261, "<|fim|>": 264}


@pytest.mark.parametrize("way", ["gpt2", "cl100k", "o200k"])
def test_ranks_with_a_pattern_give_tiktokens_ids(tmp_path, way):
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is a development dependency")
    (tmp_path / "own.tiktoken").write_bytes(rank_file())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pattern": way, "special": SPECIAL}))
    ours = Tokenizer.load(tmp_path)
    theirs = tiktoken.Encoding("own", pat_str=WAYS[way][0], mergeable_ranks=ranks.parse(rank_file(), "own"), special_tokens=SPECIAL)
    for text in TEXTS.values():
        assert ours.encode(text) == theirs.encode_ordinary(text)
        assert ours.decode(ours.encode(text)) == text
    assert (ours.eos_id, ours.size, ours.lossless) == (261, 265, True)


def test_llama3_calls_its_ranks_tokenizer_model(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(rank_file())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pattern": "cl100k", "special": {"<|end_of_text|>": 261}}))
    assert Tokenizer.load(tmp_path).encode(" the研") == [258, 260]


@pytest.mark.parametrize(
    ("name", "content", "config", "expected"),
    [
        ("own", rank_file(), {}, "expected one of the published files, or a pattern, got sha256 "),
        ("cl100k_base", rank_file(), {}, "expected the published cl100k_base (sha256 223921b76ee9…), got sha256 "),
        ("own", rank_file(), {"pattern": "cl10k"}, "pattern: expected the name of a way to cut text, got 'cl10k' - did you mean 'cl100k'?"),
        ("own", rank_file(), {"pattern": "gpt2", "special": ["a"]}, "special: expected names with their ids, got ['a']"),
        ("own", rank_file() + b"IQ== 999\n", {"pattern": "gpt2"}, "own.tiktoken:262: expected each token once"),
        ("own", rank_file() + b"%%% 999\n", {"pattern": "gpt2"}, "own.tiktoken:262: expected base64 and a number"),
        ("own", rank_file().split(b"\n", 1)[1], {"pattern": "gpt2"}, "expected a token for each of the 256 bytes, got none for 0x00"),
        ("own", rank_file(), {"pattern": "gpt2"}, "expected a special token that ends a text, got none"),
    ],
)  # fmt: skip
def test_ranks_that_are_wrong_are_said_to_be_so(tmp_path, name, content, config, expected):
    (tmp_path / f"{name}.tiktoken").write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path)
    assert expected in str(caught.value)


def test_every_name_of_a_way_to_cut_is_one():
    assert set(NAMED.values()) <= set(WAYS)
    for way, patterns in WAYS.items():
        inner = tokenizers.Tokenizer(models.BPE(vocab=BYTES, merges=[]))
        from yanmo.text.patterns import cutting

        inner.pre_tokenizer = cutting(way)
        inner.decoder = decoders.ByteLevel()
        for text in (ENGLISH, CHINESE, *TEXTS.values()):
            assert inner.decode(inner.encode(text).ids) == text, (way, patterns)
    assert len({known.sha256 for known in ranks.KNOWN.values()}) == len(ranks.KNOWN)
    assert all(len(known.sha256) == len(hashlib.sha256().hexdigest()) for known in ranks.KNOWN.values())
