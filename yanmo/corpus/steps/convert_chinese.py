"""Traditional to simplified characters and back, by OpenCC: phrase by phrase, so that 頭髮 and 發展 become 头发 and 发展.

Only Chinese characters change; text without any is passed on as it is. A script that the `language` step noted (`Hans`,
`Hant`) is not looked at again: put the conversion before it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal

from yanmo.core.extras import needed
from yanmo.corpus.step import Edit

HAN = re.compile("[\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
PLAIN = {"simplified": "t2s", "traditional": "s2t"}


class ConvertChinese(Edit):
    """Turns Chinese text into simplified or traditional characters.

    `to`: simplified, traditional, or one of OpenCC's own conversions: `tw2sp` and `s2twp` also change the words that
    Taiwan and the mainland say differently (軟體, 软件)."""

    type: str = "convert_chinese"
    to: Literal[
        "simplified", "traditional", "t2s", "s2t", "s2tw", "s2twp", "s2hk", "s2hkp", "tw2s", "tw2sp", "tw2t", "t2tw", "hk2s",
        "hk2sp", "hk2t", "t2hk", "t2jp", "jp2t",
    ] = "simplified"  # fmt: skip

    def check(self) -> None:
        needed("opencc", "corpus", self.type)

    def edit(self, text: str) -> str:
        if text.isascii() or not HAN.search(text):
            return text
        return converter(PLAIN.get(self.to, self.to)).convert(text)


@cache
def converter(name: str) -> Any:
    return needed("opencc", "corpus", "convert_chinese").OpenCC(name)
