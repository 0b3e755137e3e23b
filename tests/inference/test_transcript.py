"""Text as it is generated: whole characters, no part of a stop string, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.tiny import TEXTS, tokenizer
from yanmo.inference.transcript import Transcript, overlap


def pieces(ids, stop=()):
    transcript = Transcript(tokenizer(), list(stop))
    shown = []
    for token in ids:
        shown.append(transcript.push(token))
        if transcript.stopped:
            break
    return [*shown, transcript.finish()], transcript


TEXT = st.text(st.sampled_from("ab研墨🙂é\u0301👩\u200d👧 \n。"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_pieces_join_to_the_text_and_each_is_whole(text):
    found, _ = pieces(tokenizer().encode(text))
    assert "".join(found) == text
    assert all("\ufffd" not in piece for piece in found)
    for piece in found:
        piece.encode("utf-8")


@settings(max_examples=300, deadline=None)
@given(TEXT, st.lists(st.text(st.sampled_from("ab研墨🙂。 \n"), min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_text_ends_before_the_first_stop_string_and_none_leaks(text, stops):
    found, transcript = pieces(tokenizer().encode(text), stops)
    shown = "".join(found)
    assert transcript.stopped == any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not transcript.stopped:
        assert shown == text
    sofar = ""
    for piece in found[:-1]:  # what was shown at any time was no beginning of a stop string that came
        sofar += piece
        assert shown.startswith(sofar)


@pytest.mark.parametrize("stops", [["ab"], ["。", "b"], ["🙂🙂"], ["a\n"]])
def test_stops_are_found_across_tokens_in_byte_pieces(stops):
    text = "研墨a🙂🙂b。ab a\n"
    ids = [token for character in text.encode() for token in [byte_id(character)]]
    found, transcript = pieces(ids, stops)
    cut = min(text.find(stop) for stop in stops if stop in text)
    assert transcript.stopped
    assert "".join(found) == text[:cut]


def byte_id(byte: int) -> int:
    return next(i for i in range(tokenizer().size) if tokenizer().piece(i) == bytes([byte]))


def test_a_partial_stop_is_shown_when_it_turns_out_to_be_none():
    ids = [byte_id(b) for b in b"x</y</s"]
    found, transcript = pieces(ids, ["</s>"])
    assert found == ["x", "", "", "</y", "", "", "", "</s"]
    assert not transcript.stopped


def test_half_a_character_at_the_end_and_bytes_that_are_no_text_are_dropped():
    whole = [byte_id(b) for b in "墨🙂".encode()]
    found, _ = pieces(whole[:-1])
    assert "".join(found) == "墨"
    found, _ = pieces([byte_id(b) for b in b"a\xff\xc3b\xe5\xa2"])
    assert "".join(found) == "ab"


def test_special_tokens_show_nothing():
    special = tokenizer().special
    found, _ = pieces(
        [special["<|im_start|>"], *tokenizer().encode("研"), special["<|im_end|>"], special["<|endoftext|>"], special["<|pad|>"]]
    )
    assert "".join(found) == "研"


def test_text_that_reads_like_a_special_token_is_text():
    found, _ = pieces(tokenizer().encode("<|im_end|>" + TEXTS[4]))
    assert "".join(found) == "<|im_end|>" + TEXTS[4]


@pytest.mark.parametrize(
    ("text", "stop", "length"),
    [("abc", "cd", 1), ("aab", "aabaab", 3), ("", "x", 0), ("abab", "ab", 0), ("xa", "aab", 1), ("xaa", "aab", 2)],
)
def test_overlap(text, stop, length):
    assert overlap(text, stop) == length
