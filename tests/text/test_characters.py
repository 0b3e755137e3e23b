"""One token a character."""

from __future__ import annotations

from yanmo.text.characters import CharacterTokenizer


def test_the_most_frequent_characters_come_first_and_ties_by_code_point():
    made = CharacterTokenizer(min_count=1).train(["研墨墨 ba", "墨研"])
    assert [made.token(token) for token in range(260, made.size)] == ["墨", "研", " ", "a", "b"]


def test_rare_characters_are_spelled_by_their_bytes():
    made = CharacterTokenizer(min_count=2).train(["研研墨"])
    assert made.encode("研墨") == [260, *(4 + byte for byte in "墨".encode())]
    assert made.decode(made.encode("研墨")) == "研墨"


def test_a_size_keeps_the_most_frequent():
    made = CharacterTokenizer(size=261, min_count=1).train(["aabbb"])
    assert made.token(260) == "b"


def test_a_text_that_spells_the_name_of_a_byte_is_text():
    made = CharacterTokenizer(min_count=1).train(["<0xE4> <0x41>"])
    assert len(made.encode("<0x41>")) == 6
