"""Where words and sentences begin among tokens: for any text and every tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.objectives.tiny import CHINESE, ENGLISH, MIXED, tokenizer
from yanmo.text.spelling import Speller, borders

KINDS = ["characters", "bpe"]
SPELLERS = {kind: Speller(tokenizer(kind)) for kind in KINDS}
text = st.text(st.one_of(st.sampled_from("aé e\u0301z'’9 .!\n研究生命话说🐋👩‍🚀👍🏽हि\u200d\u3000"), st.characters(exclude_categories=["Cs"])), max_size=60)


def pieces(content, cut=list):
    found, at = [], 0
    places = [index for index, here in enumerate(borders(content, cut)) if here and index]
    for place in places:
        found.append(content[at:place])
        at = place
    return found


@settings(max_examples=300, deadline=None)
@given(content=text)
def test_words_are_the_text_in_pieces(content):
    assert "".join(pieces(content)) == content
    assert all(pieces(content))


def test_what_is_a_word():
    assert pieces("Don't stop, e\u0301te\u0301 3.14") == ["Don't", " ", "stop", ",", " ", "e\u0301te\u0301", " ", "3", ".", "14"]
    assert pieces("GPT-4的研究", lambda run: ["的", "研究"]) == ["GPT", "-", "4", "的", "研究"]
    assert pieces("👩‍🚀👍🏽🐋") == ["👩‍🚀", "👍🏽", "🐋"]
    assert pieces("हिन्दी ภาษาไทย ひらがな 한국어") == ["हिन्दी", " ", "ภาษาไทย", " ", "ひらがな", " ", "한국어"]
    assert pieces("'tis rock 'n' roll’s") == ["'", "tis", " ", "rock", " ", "'", "n", "'", " ", "roll’s"]
    assert pieces("") == []


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(content=text)
def test_every_token_has_a_word_and_no_character_two(kind, content):
    of, speller = tokenizer(kind), SPELLERS[kind]
    ids = of.encode(content)
    words = speller.words(ids, list).tolist()
    assert len(words) == len(ids)
    assert words == sorted(words)
    assert sorted(set(words)) == list(range(len(set(words))))
    spelled = speller.spell(ids)
    assert spelled.text == content
    allowed = borders(content, list)
    for index in range(1, len(ids)):
        place = spelled.places[index]
        begins = words[index] != words[index - 1]
        assert begins == (place >= 0 and bool(allowed[place]))


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_belong_to_no_word(kind):
    of, speller = tokenizer(kind), SPELLERS[kind]
    ids = [of.eos_id, *of.encode("research"), of.mask_id, *of.encode("er"), of.eos_id]
    words = speller.words(ids, list).tolist()
    assert words[0] == words[-1] == -1
    assert words[ids.index(of.mask_id)] == -1
    assert len({word for word in words if word >= 0}) == 2  # what a mask parts is not one word


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_character_at_a_rows_ends_is_harmless(kind):
    """Rows are cut anywhere, also within the bytes of a character that is not in the vocabulary."""
    of, speller = tokenizer(kind), SPELLERS[kind]
    ids = of.encode("齉龘 word 齉龘")
    assert any(of.piece(token).decode("utf-8", "ignore") == "" for token in ids)
    for start in range(len(ids)):
        for stop in range(start + 1, len(ids) + 1):
            words = speller.words(ids[start:stop], list)
            assert len(words) == stop - start
            assert speller.sentences(ids[start:stop]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_begin_at_tokens(kind):
    of, speller = tokenizer(kind), SPELLERS[kind]
    for content, count in ((ENGLISH, 4), (CHINESE, 4), (MIXED, 2)):
        ids = of.encode(content)
        cuts = speller.sentences(ids)
        assert cuts == sorted(set(cuts))
        assert all(0 < cut < len(ids) for cut in cuts)
        assert len(cuts) >= count - 1
        for cut in cuts:
            assert of.decode(ids[:cut]).rstrip()[-1] in ".!?…。！？”\n" or "\n" in of.decode(ids[cut - 1 : cut + 1])
