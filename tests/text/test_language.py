"""The script heuristic."""

from __future__ import annotations

import pytest

from yanmo.text.language import language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call me Ishmael.", "en"),
        ("Ça, c’est l’été à Zürich", "en"),  # Latin letters, as it says of itself
        ("话说天下大势，分久必合", "zh"),
        ("舉頭望山月，低頭思故鄉", "zh"),
        ("用 Python 写代码，很好", "zh"),
        ("第１回 ﹝１９９８年﹞ 天下", "zh"),
        ("The word 墨 means ink", "en"),
        ("𠀀𪚥", "zh"),
        ("吾輩は猫である。名前はまだ無い。", "other"),
        ("안녕하세요", "other"),
        ("С Москвы", "other"),
        ("สวัสดี", "other"),
        ("", "other"),
        ("123 ... !?", "other"),
        ("１２３，。👋", "other"),
        ("ａｂｃ", "en"),
        ("a" * 10 + "漢" * 4, "zh"),
        ("a" * 13 + "漢" * 4, "en"),
    ],
)
def test_language(text, expected):
    assert language(text) == expected


def test_it_looks_at_the_beginning_only():
    assert language("word " * 2000 + "漢" * 10**6) == "en"
