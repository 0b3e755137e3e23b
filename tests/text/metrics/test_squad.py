"""Exact match and F1 against the published scripts, restated here step by step from their definitions."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.text.metrics import squad

CHARACTERS = st.characters() | st.sampled_from(list("aAnNtThHeE .,'’-—$%#\t\u00a0\u3000的，。《》·…北京café\u0301İſ🐋"))
ANSWERS = st.text(CHARACTERS, max_size=24) | st.lists(
    st.sampled_from(["a", "An", "THE", "the.", "theatre", "cat", "Cat!", "3.5", "U.S.", "don't", "北京", "，", "\u200b"]), max_size=6
).map(" ".join)


# ------------------------------------------------------------------------------------------------ the scripts, restated


def standard(answer: str) -> list[str]:
    """evaluate-v1.1.py and v2.0: lower case, without the 32 ASCII signs, each article (between borders of words) a blank."""
    kept = [c for c in answer.lower() if not ("!" <= c <= "/" or ":" <= c <= "@" or "[" <= c <= "`" or "{" <= c <= "~")]
    content = re.sub(r"(?<!\w)(?:the|an|a)(?!\w)", " ", "".join(kept))
    return content.split()


def overlap(one: list[str], other: list[str]) -> float:
    left = list(other)
    same = 0
    for word in one:
        if word in left:
            left.remove(word)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(one), same / len(other)
    return 2 * precision * recall / (precision + recall)


def squad1(prediction: str, answers: list[str]) -> tuple[float, float]:
    pairs = [(standard(prediction), standard(answer)) for answer in answers]
    return max(float(p == a) for p, a in pairs), max(overlap(p, a) for p, a in pairs)


def squad2(prediction: str, answers: list[str]) -> tuple[float, float]:
    pairs = [(standard(prediction), standard(answer)) for answer in answers if standard(answer)] or [(standard(prediction), [])]
    f1 = [overlap(p, a) if p and a else float(p == a) for p, a in pairs]
    return max(float(p == a) for p, a in pairs), max(f1)


CMRC = ["-", ":", "_", "*", "^", "/", "\\", "~", "`", "+", "=", "，", "。", "：", "？", "！", "“", "”", "；", "’", "《", "》", "……", "·", "、",
        "「", "」", "（", "）", "－", "～", "『", "』"]  # fmt: skip


def segments(content: str) -> list[str]:
    """cmrc2018_evaluate.py: a Chinese character (一 … 龥) alone, the stretches between them cut into words."""
    found, between = [], ""
    for character in [c for c in content.lower().strip() if c not in CMRC]:
        if "\u4e00" <= character <= "\u9fa5":
            found += [*words(between), character]
            between = ""
        else:
            between += character
    return found + words(between)


def words(between: str) -> list[str]:
    """NLTK's word tokenizer: the last full stop parts (what closes behind it stays behind it), so do some signs, runs of
    stops, and commas that no digit follows; then contractions."""
    body = between.rstrip("])}>\"' ")
    signs = set("[](){}<>\";@#$%&?!‘„«»–—")
    last = len(body) - 1 if body.endswith(".") and not body.endswith("..") and len(body) > 1 else -1
    made, place = "", 0
    while place < len(between):
        character = between[place]
        run = len(between[place:]) - len(between[place:].lstrip(".")) if character == "." else 0
        if run > 1:
            made += " " + "." * run + " "
            place += run
            continue
        comma = character == "," and re.match(r"\d", between[place + 1 : place + 2]) is None
        made += f" {character} " if character in signs or comma or place == last else character
        place += 1
    found: list[str] = []
    for word in made.split():
        for ending in ("'s", "'m", "'d", "'ll", "'re", "'ve", "n't", "'"):
            stem = word[: -len(ending)]
            if word.endswith(ending) and stem and stem[-1] != "'":
                found += [stem, ending]
                break
        else:
            found.append(word)
    return found


def cmrc(prediction: str, answers: list[str]) -> tuple[float, float]:
    exact, f1 = [], []
    for answer in answers:
        one, other = segments(prediction), segments(answer)
        exact.append(float([c for c in prediction.lower().strip() if c not in CMRC] == [c for c in answer.lower().strip() if c not in CMRC]))
        best = 0
        for start in range(len(one)):
            for end in range(len(one), start + best, -1):
                if any(other[place : place + end - start] == one[start:end] for place in range(len(other))):
                    best = end - start
                    break
        f1.append(2 * (best / len(one)) * (best / len(other)) / (best / len(one) + best / len(other)) if best else 0.0)
    return max(exact), max(f1)


RULES = {"squad1": squad1, "squad2": squad2, "cmrc": cmrc}


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=300, deadline=None)
@given(prediction=ANSWERS, answers=st.lists(ANSWERS, min_size=1, max_size=3))
def test_any_strings_score_as_the_script_scores_them(rule, prediction, answers):
    assert squad.score(prediction, answers, rule) == pytest.approx(RULES[rule](prediction, answers), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_thousands_of_answers_that_are_nearly_right(rule):
    """Cut, grown and disturbed pieces of one text, as models give them."""
    rng = random.Random(0)
    text = ("In May 1983, the singer married Nikos Karvelas, a composer, in Athens (Greece); an album -- \"Ti Ti\" -- sold 3.5 million. "
            "玩家以水枪、小枪、锤子或是水炸弹泡封敌人（玩家或NPC），即为一泡封，由韩国Nexon开发。")  # fmt: skip
    for _ in range(3000):
        def piece() -> str:
            start = rng.randrange(len(text))
            content = text[start : start + rng.randrange(40)]
            return content.upper() if rng.random() < 0.1 else content.replace(" ", "  ") if rng.random() < 0.1 else content

        answers = [piece() for _ in range(rng.randint(1, 3))]
        prediction = rng.choice([piece(), answers[0], "the " + answers[0], answers[0] + ".", answers[0][1:]])
        assert squad.score(prediction, answers, rule) == pytest.approx(RULES[rule](prediction, answers), abs=1e-12)


# ------------------------------------------------------------------------------------------------ known values


@pytest.mark.parametrize(("prediction", "answers", "rule", "expected"), [
    ("The Cat.", ["cat"], "squad1", (1, 1)),
    ("black cat", ["the cat", "a black dog"], "squad1", (0, 2 / 3)),
    ("the", ["a"], "squad1", (1, 0)),  # nothing is left of either: the first script finds no common word
    ("the", ["a"], "squad2", (1, 1)),  # the second takes it for no answer
    ("", [], "squad2", (1, 1)),
    ("cat", [], "squad2", (0, 0)),
    ("", ["cat"], "squad2", (0, 0)),
    ("cat cat", ["cat"], "squad2", (0, 2 / 3)),
    ("a\u00a0cat", ["cat"], "squad1", (1, 1)),
    ("北京", ["北京市"], "squad1", (0, 0)),  # no spaces, so one word
    ("北京", ["北京市"], "cmrc", (0, 0.8)),
    ("《北京》。", ["北京"], "cmrc", (1, 1)),
    ("韩国Nexon公司", ["韩国nexon"], "cmrc", (0, 0.75)),
    ("京北", ["北京"], "cmrc", (0, 0.5)),  # side by side, not any order
    ("", [], "cmrc", (1, 1)),
    ("没有", [], "cmrc", (0, 0)),
    ("e\u0301", ["é"], "squad2", (0, 0)),  # nothing is composed
])  # fmt: skip
def test_known_scores(prediction, answers, rule, expected):
    assert squad.score(prediction, answers, rule) == pytest.approx(expected)


def test_pieces_of_mixed_script():
    assert squad.pieces("由韩国Nexon开发，售3.5万-套 don't!") == ["由", "韩", "国", "nexon", "开", "发", "售", "3.5", "万", "套", "do", "n't", "!"]
    assert squad.pieces("Roy H. Reinhart 于2,000年（U.S.）—— it's") == ["roy", "h.", "reinhart", "于", "2,000", "年", "u.s.", "—", "—", "it", "'s"]
    assert squad.pieces("👨‍👩‍👧 玩 😀!") == ["👨‍👩‍👧", "玩", "😀", "!"]
