"""How well an answer explains a text: what is left out and what is said twice, in a language made of a few words."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from yanmo.core.errors import CorruptError
from yanmo.core.registry import create
from yanmo.models.channel import FILE, LEAST, Channel

WORDS = {"open": "打开", "close": "关闭", "the file": "文件", "a cell": "单元格", "café 🙂": "咖啡馆 🙂", "e\u0301tude": "练习曲"}
PAIRS = [(f"{verb} {thing}", f"{WORDS[verb]}{WORDS[thing]}") for verb in ("open", "close") for thing in list(WORDS)[2:]]
TOKENS = create("tokenizer", {"type": "characters", "min_count": 1}).train([side.casefold() for pair in PAIRS for side in pair])


@pytest.fixture(scope="module")
def channel():
    return Channel.fit(TOKENS, PAIRS)


@pytest.mark.parametrize(("verb", "thing"), [(verb, thing) for verb in ("open", "close") for thing in list(WORDS)[2:]])
def test_the_whole_translation_explains_best(channel, verb, thing):
    text = f"{verb} {thing}"
    scores = {answer: channel.logprob(text, answer)[0] for _, answer in PAIRS}
    assert max(scores, key=scores.__getitem__) == WORDS[verb] + WORDS[thing]
    assert channel.logprob(text, WORDS[verb] + WORDS[thing])[0] > channel.logprob(text, WORDS[thing])[0]
    assert channel.logprob(text, WORDS[verb] + WORDS[thing])[0] > channel.logprob(text, WORDS[verb] + WORDS[thing] * 3)[0]


def test_by_hand():
    """One pair of one token each: p(o | 打) and p(o | nothing) are 1."""
    channel = Channel.fit(TOKENS, [("o", "打")])
    assert channel.logprob("o", "打") == (pytest.approx(0.0), 1)
    assert channel.logprob("O", "打") == (pytest.approx(0.0), 1)  # small letters
    assert channel.logprob("o", "打文") == (pytest.approx(np.log(2 / 3)), 1)
    assert channel.logprob("o", "") == (pytest.approx(0.0), 1)
    assert channel.logprob("e", "打") == (pytest.approx(np.log(LEAST)), 1)
    assert channel.logprob("", "打") == (0.0, 0)


@pytest.mark.parametrize("pairs", [[], [("", ""), ("a", "")]])
def test_nothing_to_learn_from(pairs):
    assert Channel.fit(TOKENS, pairs).logprob("op", "打")[0] == pytest.approx(2 * np.log(LEAST))


def test_saved_and_opened_again(channel, tmp_path):
    channel.save(tmp_path)
    again = Channel.load(tmp_path, TOKENS)
    for text, answer in PAIRS:
        assert again.logprob(text, answer) == channel.logprob(text, answer)
    other = tmp_path / "other"
    other.mkdir()
    Channel.fit(TOKENS, PAIRS).save(other)
    assert (other / FILE).read_bytes() == (tmp_path / FILE).read_bytes()


@pytest.mark.parametrize("wrong", ["bytes", "part", "lengths", "tokens", "negative", "order"])
def test_files_that_are_none(channel, tmp_path, wrong):
    channel.save(tmp_path)
    path = tmp_path / FILE
    found = load_file(path)
    if wrong == "bytes":
        path.write_bytes(path.read_bytes()[:-7])
    elif wrong == "part":
        save_file({"answer": found["answer"]}, path)
    elif wrong == "lengths":
        save_file(found | {"source": found["source"][1:]}, path)
    elif wrong == "tokens":
        save_file(found | {"source": found["source"] + TOKENS.size}, path)
    elif wrong == "negative":
        save_file(found | {"answer": found["answer"] - 5}, path)
    else:
        save_file({name: value[::-1].copy() for name, value in found.items()}, path)
    with pytest.raises(CorruptError, match=FILE):
        Channel.load(tmp_path, TOKENS)
