"""Which language a text seems to be in, by the scripts of its letters alone.

A heuristic, not an identifier: 'zh' means mostly Han characters and hardly any kana, 'en' mostly Latin letters (French is
'en' here), anything else is 'other'. It costs one pass over the first characters of a text and needs no model.
"""

from __future__ import annotations

import re
from typing import Literal

LOOKED_AT = 10_000  # characters
HAN_WEIGHT = 3  # one Han character says about as much as three letters do, as its UTF-8 bytes suggest

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_KANA = re.compile("[\u3040-\u30ff\u31f0-\u31ff]+")
_LATIN = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a]+")
_LETTERS = re.compile(r"[^\W\d_]+")


def language(text: str) -> Literal["zh", "en", "other"]:
    """The script that more than half of a text's letters belong to; 'other' where none does or there are no letters."""
    text = text[:LOOKED_AT]
    if text.isascii():
        return "en" if _LATIN.search(text) else "other"
    han, kana, latin, letters = (_count(kind, text) for kind in (_HAN, _KANA, _LATIN, _LETTERS))
    whole = letters + (HAN_WEIGHT - 1) * han
    if 2 * HAN_WEIGHT * han > whole and 20 * kana < han:  # Japanese prose is a third to two thirds kana
        return "zh"
    return "en" if 2 * latin > whole else "other"


def _count(kind: re.Pattern[str], text: str) -> int:
    return sum(map(len, kind.findall(text)))
