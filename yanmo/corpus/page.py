"""`corpus.html`: what went in, what stayed, what was dropped and why, with examples. One file that needs nothing else.

Labels are English with Chinese beside them: the page is an output, and its bytes must not depend on the reader's locale.
"""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.6 system-ui,"Noto Sans","PingFang SC","Microsoft YaHei",sans-serif;
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #8884}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{height:1.1rem;border-radius:3px;background:#2f6f8f}.bar.dropped{background:#b5762a}.bar.quarantined{background:#a33b3b}
.funnel td:last-child{width:55%}
figure{margin:.8rem 0;padding:.5rem .9rem;border-left:3px solid #8886;background:#8881}
figcaption{font-size:.85rem;opacity:.75}pre{white-space:pre-wrap;
overflow-wrap:anywhere;margin:.2rem 0;font:inherit;max-height:14rem;overflow:auto}
"""
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}  # a browser would not show them
TITLES = {"kept": "Kept · 保留", "dropped": "Dropped · 丢弃", "quarantined": "Quarantined · 隔离"}


def page(stats: dict[str, Any], examples: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """The page for `stats` (as in stats.json) and examples of each (fate, source or reason)."""
    body = [
        "<h1>Corpus · 语料</h1>",
        "<h2>From input to corpus · 去留</h2>", _funnel(stats),
        "<h2>Split · 划分</h2>", _table(("split · 部分", "documents · 文档", "bytes · 字节"), [
            (name, amount["documents"], amount["bytes"]) for name, amount in stats["splits"].items()]),
        "<h2>Sources · 来源</h2>", _table(
            ("source · 来源", "language · 语言", "licence · 许可", "weight · 权重", "in · 读入", "kept · 保留", "bytes · 字节"), [
                (s["title"] or s["name"], s["language"] or "–", s["licence"] or "–", s["weight"], s["in"], s["kept"], s["bytes"])
                for s in stats["sources"]]),
    ]  # fmt: skip
    for fate, title in TITLES.items():
        chosen = [(name, found) for (kind, name), found in examples.items() if kind == fate]
        if chosen:
            body.append(f"<h2>{title}</h2>")
        for name, found in chosen:
            body.append(f"<h3>{escape(name)}</h3>" + "".join(map(_example, found)))
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Corpus</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{STYLE}</style></head><body>\n" + "\n".join(body).translate(CONTROLS) + "\n</body></html>\n")  # fmt: skip


def _funnel(stats: dict[str, Any]) -> str:
    lines = [("in · 读入", stats["in"], "")]
    lines += [(f"quarantined · 隔离: {name}", count, "quarantined") for name, count in stats["quarantined"].items()]
    lines += [(f"dropped · 丢弃: {name}", count, "dropped") for name, count in stats["dropped"].items()]
    lines += [("kept · 保留", stats["kept"], "")]
    rows = []
    for name, count, kind in lines:
        share = count / max(stats["in"], 1)
        rows.append(f'<tr><td>{escape(name)}</td><td class="n">{count:,}</td><td class="n">{share:.1%}</td>'
                    f'<td><div class="bar {kind}" style="width:{100 * share:.2f}%"></div></td></tr>')  # fmt: skip
    return f'<table class="funnel">{"".join(rows)}</table>'


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    def cell(value: Any, tag: str, numeric: bool) -> str:
        shown = f"{value:,}" if isinstance(value, int | float) else escape(str(value))
        return f'<{tag} class="n">{shown}</{tag}>' if numeric else f"<{tag}>{shown}</{tag}>"

    numeric = [bool(rows) and isinstance(value, int | float) for value in (rows[0] if rows else head)]
    lines = ["".join(cell(value, "th", n) for value, n in zip(head, numeric))]
    lines += ["".join(cell(value, "td", n) for value, n in zip(row, numeric)) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _example(example: dict[str, Any]) -> str:
    place = f"{example['file']} [{example['start']}, {example['end']})"
    notes = [example["split"], place, f"line {example['line']}" if example["line"] else "",
             f"value {example['value']}" if example["value"] is not None else "",
             f"similarity {example['similarity']}" if example["similarity"] is not None else ""]  # fmt: skip
    language = f' lang="{escape(example["language"], quote=True)}"' if example["language"] else ""
    caption = escape(" · ".join(note for note in notes if note))
    return f"<figure><figcaption>{caption}</figcaption><pre{language}>{escape(example['text'])}</pre></figure>"
