"""Takes out lines that hold nothing but symbols: rules, borders of tables, underlines of headings (`-----`, `|---|---|`,
`＊＊＊`, `═════`). A line with any other character stays as it is, and so do blank lines."""

from __future__ import annotations

from pydantic import Field

from yanmo.corpus.step import Edit

BOXES = "".join(map(chr, range(0x2500, 0x25A0)))  # and blocks
SYMBOLS = "-|*_=#~" + "－｜＊＿＝＃～" + "‐‑‒–—―" + BOXES
BLANK = " \t\r\f\v\u00a0\u3000"


class SymbolLines(Edit):
    """Takes out lines of symbols alone; `symbols` says which characters are symbols."""

    type: str = "symbol_lines"
    symbols: str = Field(default=SYMBOLS, min_length=1)

    def edit(self, text: str) -> str:
        vain = self.symbols + BLANK
        lines = text.split("\n")
        kept = [line for line in lines if not line or line.strip(vain) or not line.strip()]
        return text if len(kept) == len(lines) else "\n".join(kept)
