"""Windows over texts: every place once, the marks of each tokenizer, questions before the text, spans found again."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.registry import create
from yanmo.text.windows import trimmed, windows

TEXTS = ["Marie Curie lived in Paris.  She e\u0301tudied 👩‍🔬 there!", "曹操字孟德，沛国谯县人。话说天下大势，分久必合 ok。", "\u3000 mixed 混 文\n\n\ttext 🖌️ "]


@pytest.fixture(scope="module", params=["characters", "bpe", "framed", "wordpiece"])
def tokenizer(request):
    settings = {"characters": {"type": "characters", "min_count": 1}, "bpe": {"type": "bpe", "size": 300, "min_frequency": 1},
                "framed": {"type": "characters", "min_count": 1, "special": ["[CLS]", "[SEP]"]},
                "wordpiece": {"type": "wordpiece", "size": 95, "min_frequency": 1}}[request.param]  # fmt: skip
    return create("tokenizer", settings).train(TEXTS)


def owned(found):
    return [place for window in found for place, own in zip(window.places, window.own) if own]


@pytest.mark.parametrize("length", [12, 17, 30, 500])
@pytest.mark.parametrize("overlap", [None, 0, 3])
def test_every_place_is_one_windows_own(tokenizer, length, overlap):
    for content in [*TEXTS, "", "   ", "墨"]:
        for before in (None, "who? 谁"):
            found = windows(content, tokenizer, length, overlap, before)
            assert all(len(w.tokens) == len(w.types) == len(w.places) == len(w.own) for w in found)
            assert all(len(w.tokens) <= length for w in found)
            want = [place for start, end in tokenizer.offsets(content) if (place := trimmed(content, start, end))]
            assert owned(found) == want
            assert all(w.places[w.nowhere] is None for w in found)
            assert len(found) > 1 or length == 500 or len(want) < length


def test_marks_stand_where_the_tokenizer_puts_them(tokenizer):
    [alone] = windows("ok 文", tokenizer, 64)
    [pair] = windows("ok 文", tokenizer, 64, before="谁")
    ids, question = tokenizer.encode("ok 文"), tokenizer.encode("谁")
    if tokenizer.cls_id is None:
        assert alone.tokens == [tokenizer.bos_id, *ids, tokenizer.eos_id]
        assert pair.tokens == [tokenizer.bos_id, *question, tokenizer.eos_id, *ids, tokenizer.eos_id]
        assert pair.nowhere == len(pair.tokens) - 1
    else:
        assert alone.tokens == tokenizer.add_special(ids).ids
        assert (pair.tokens, pair.types) == tuple(tokenizer.add_special(question, ids))
        assert pair.nowhere == 0
        assert set(pair.types) == {0, 1}
    assert pair.places[: len(question) + 1] == [None] * (len(question) + 1)


@settings(max_examples=60, deadline=None)
@given(content=st.text(alphabet="aé墨\u0301 👩\n。b", max_size=60), data=st.data())
def test_a_span_of_the_text_is_found_where_a_window_holds_it(content, data):
    made = create("tokenizer", {"type": "characters", "min_count": 1}).train(["aé墨\u0301 👩\n。b"])
    found = windows(content, made, 16)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    place = trimmed(content, start, end)
    for window in found:
        edges = None if place is None else window.find(*place)
        if edges is not None:
            first, last = window.places[edges[0]], window.places[edges[1]]
            assert first[0] == place[0]
            assert last[1] == place[1]
    if place is not None and place[1] - place[0] <= 4:
        assert any(window.find(*place) for window in found)


def test_a_token_that_two_windows_hold_is_the_one_s_that_sees_more(tokenizer):
    content = "".join(TEXTS)
    found = windows(content, tokenizer, 30, 10)
    for one, two in pairwise(found):
        shared = [place for place in one.places if place and place in two.places]
        mine = [p for p, own in zip(one.places, one.own) if own and p in shared]
        theirs = [p for p, own in zip(two.places, two.own) if own and p in shared]
        assert abs(len(mine) - len(theirs)) <= 2


def test_a_question_takes_half_of_a_row_at_most_and_what_it_lost_is_said(tokenizer):
    found = windows(TEXTS[0], tokenizer, 40, before="why " * 60)
    assert found[0].cut > 0
    assert all(len(w.tokens) <= 40 for w in found)
    assert len(owned(found)) == len(owned(windows(TEXTS[0], tokenizer, 40)))
