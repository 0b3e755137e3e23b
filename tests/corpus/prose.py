"""Texts for the filters: made ones that repeat themselves in every way, and real ones of the samples."""

from __future__ import annotations

import json
from functools import cache

from hypothesis import strategies as st

import yanmo.samples
from yanmo.core.data import Document, Origin, content_id

ENGLISH = ["the", "whale", "and", "sea", "don't", "of", "Mr.", "well-known", "(sic)", "1851", "ship...", "#tag", "be", "that", '"Aye,"', "U.S.", "to", "said,", "it's", "…", "-", "a.b@example.com", "[12]", "3,000", "$5", "end.", "why?", "lorem", "ipsum", "{"]  # fmt: skip
CHINESE = ["却说", "曹操", "引军", "的", "是", "在", "，", "。", "！", "“", "”", "……", "《三国》", "建安", "十三年", "人", "不", "为", "GPT4", "3.5％", "·"]
ODD = ["👩‍👩‍👧", "e\u0301tude", "naïve", "नमस्ते", "สวัสดี", "ｆｕｌｌ", "don’t研墨", "x" * 70, "☃", "日本語です", "\u200b", "ß²", "\x07", "\u3000"]
LINE = st.lists(st.sampled_from([*ENGLISH, " "]), min_size=0, max_size=14).map(" ".join)
CHINESE_LINE = st.lists(st.sampled_from(CHINESE), min_size=0, max_size=20).map("".join)
ODD_LINE = st.lists(st.sampled_from(ODD + ENGLISH[:4] + CHINESE[:4]), min_size=0, max_size=10).map("".join)
ANY_LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Lines out of a few, so that lines, paragraphs and n-grams come again, of one script or several."""
    lines = draw(st.lists(st.one_of(LINE, LINE, CHINESE_LINE, ODD_LINE, ANY_LINE), min_size=1, max_size=6))
    chosen = draw(st.lists(st.tuples(st.sampled_from(lines), st.sampled_from(["\n", "\n\n", "\n", " ", "  ", "\n\n\n", "\r\n", "\u2028"])), min_size=1, max_size=14))  # fmt: skip
    return "".join(line + end for line, end in chosen).removesuffix(chosen[-1][1] if draw(st.booleans()) else "")


def document(text: str, **meta) -> Document:
    return Document(content_id(text), text, Origin("a", None, 0, 1), meta=meta)


@cache
def real() -> tuple[tuple[str, str], ...]:
    """(language, text): chapters, speeches and poems, and pieces of them with the faults that filters look for."""
    found = []
    for name, language, count in (("moby_dick", "en", 40), ("state_of_the_union", "en", 6), ("sanguo", "zh", 25), ("tang_poems", "zh", 60)):
        file = next(iter(yanmo.samples.path(name).glob("*.jsonl")))
        for line in file.read_text(encoding="utf-8").splitlines()[:count]:
            body = json.loads(line)["text"]
            found.append((language, body[:12_000]))
    for language, body in found[::9]:
        lines = body.splitlines()
        found.append((language, "\n".join(lines[:30] * 2)))
        found.append((language, "\n\n".join("- " + line for line in lines[:20])))
        found.append((language, "\n".join(line.rstrip("。.") + "..." for line in lines[:20])))
        found.append((language, (body[:60] + " ") * 8))
        found.append((language, "\n".join(body[:400].split())))
    return tuple((language, body) for language, body in found if body.strip())
