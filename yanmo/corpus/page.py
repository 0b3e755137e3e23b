"""`corpus.html`: what went in, what stayed, what was dropped and why, with examples. One file that needs nothing else.

Labels are English with Chinese beside them: the page is an output, and its bytes must not depend on the reader's locale.
What it cost to make is the one thing on it that changes from run to run, and is put in at the end (`with_cost`).
"""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.6 system-ui,"Noto Sans","PingFang SC","Microsoft YaHei",sans-serif;
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}h3{font-size:1rem;margin:1.2rem 0 .3rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #8884}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{height:1.1rem;border-radius:3px;background:#2f6f8f;min-width:1px}
.bar.dropped{background:#b5762a}.bar.quarantined{background:#a33b3b}
.bars td:last-child{width:55%}.headline{display:flex;gap:2.5rem;flex-wrap:wrap}
.headline div{font-size:1.6rem;font-variant-numeric:tabular-nums}.headline small{display:block;font-size:.8rem;opacity:.75}
figure{margin:.8rem 0;padding:.5rem .9rem;border-left:3px solid #8886;background:#8881}
figcaption{font-size:.85rem;opacity:.75}pre{white-space:pre-wrap;
overflow-wrap:anywhere;margin:.2rem 0;font:inherit;max-height:14rem;overflow:auto}
"""
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}  # a browser would not show them
TITLES = {"kept": "Kept · 保留", "dropped": "Dropped · 丢弃", "quarantined": "Quarantined · 隔离"}
COST = "<!-- cost -->"
Row = tuple[Any, ...]


def page(stats: dict[str, Any], examples: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """The page for `stats` (as in stats.json) and examples of each (fate, source or reason)."""
    body = ["<h1>Corpus · 语料</h1>", _headline(stats)]
    body += ["<h2>From input to corpus · 去留</h2>", _funnel(stats)]
    body += ["<h2>Split · 划分</h2>", _table(("split · 部分", "documents · 文档", "bytes · 字节"), [
        (name, amount["documents"], amount["bytes"]) for name, amount in stats["splits"].items()])]  # fmt: skip
    body += ["<h2>Sources · 来源</h2>", _table(
        ("source · 来源", "language · 语言", "licence · 许可", "weight · 权重", "in · 读入", "kept · 保留", "bytes · 字节"), [
            (s["title"] or s["name"], s["language"] or "–", s["licence"] or "–", s["weight"], s["in"], s["kept"], s["bytes"])
            for s in stats["sources"]])]  # fmt: skip
    body += ["<h2>Languages of what was kept · 保留文档的语言</h2>", _bars(list(stats["languages"].items()))]
    lengths = [(_span(int(low)), count) for low, count in stats["lengths"].items()]
    body += ["<h2>Length of what was kept, in characters · 保留文档的长度（字符）</h2>", _bars(lengths)]
    for name, histogram in stats["scores"].items():
        body += [f"<h2>Scores of what was kept · 保留文档的评分: {escape(name)}</h2>",
                 _bars([(f"{low} – {round(float(low) + 0.1, 1)}", count) for low, count in histogram.items()])]  # fmt: skip
    if stats["pii"]:
        body += ["<h2>Personal data found · 个人信息</h2>", _table(("kind · 类别", "found · 发现"), list(stats["pii"].items()))]
    for report in stats["reports"]:
        body += [f"<h2>Report of a step · 步骤报告: {escape(str(report['step']))}</h2>",
                 _table(("", ""), [(str(key), str(value)) for key, value in report.items() if key != "step"])]  # fmt: skip
    clusters = stats["duplicates"]
    if clusters["sizes"]:
        body += ["<h2>Clusters of duplicates · 重复文档簇</h2>", _table(
            ("documents in a cluster · 簇内文档", "clusters · 簇数"), list(clusters["sizes"].items())), "<h3>Largest · 最大</h3>",
            _table(("the one that stays · 保留者", "documents · 文档"), [tuple(row) for row in clusters["largest"]])]  # fmt: skip
    body.append(COST)
    for fate, title in TITLES.items():
        chosen = [(name, found) for (kind, name), found in examples.items() if kind == fate]
        if chosen:
            body.append(f"<h2>{title}</h2>")
        for name, found in chosen:
            body.append(f"<h3>{escape(name)}</h3>" + "".join(map(_example, found)))
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Corpus</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{STYLE}</style></head><body>\n" + "\n".join(body).translate(CONTROLS) + "\n</body></html>\n")  # fmt: skip


def with_cost(page: str, cost: dict[str, Any]) -> str:
    """The page with what it took: `cost` as `core.energy.Meter` reads it."""
    energy = f"{cost['joules'] / 3600:.3g} Wh ({'measured · 实测' if cost['method'] == 'measured' else 'estimated · 估计'})"
    rows = [("wall clock · 用时", f"{cost['seconds']:.1f} s"), ("processor time · 处理器时间", f"{cost['cpu_seconds']:.1f} s"),
            ("energy · 能耗", energy)]  # fmt: skip
    return page.replace(COST, "<h2>Cost · 代价</h2>" + _table(("", ""), rows), 1)


def _headline(stats: dict[str, Any]) -> str:
    size = sum(amount["bytes"] for amount in stats["splits"].values())
    shown = [(f"{stats['in']:,}", "in · 读入"), (f"{stats['kept']:,}", "kept · 保留"),
             (f"{sum(stats['dropped'].values()):,}", "dropped · 丢弃"),
             (f"{sum(stats['quarantined'].values()):,}", "quarantined · 隔离"),
             (f"{size / 1e6:,.1f} MB", "text · 文本")]  # fmt: skip
    return '<div class="headline">' + "".join(f"<div>{value}<small>{name}</small></div>" for value, name in shown) + "</div>"


def _funnel(stats: dict[str, Any]) -> str:
    """Step by step, what was left of the input; what each step dropped below it."""
    total = left = stats["in"]
    lines = [("in · 读入", left, "")]
    for name, count in stats["quarantined"].items():
        lines.append((f"− {name}", count, "quarantined"))
    left -= sum(stats["quarantined"].values())
    steps: dict[str, list[tuple[str, int]]] = {}
    for name, count in stats["dropped"].items():
        step, _, reason = name.partition(".")
        steps.setdefault(step, []).append((reason, count))
    known = stats["steps"]
    for step in [*(s for s in steps if s not in known), *(s for s in known if s in steps)]:  # what sources drop comes first
        lines += [(f"− {step}: {reason}", count, "dropped") for reason, count in steps[step]]
        left -= sum(count for _, count in steps[step])
        lines.append((f"after {step} · 之后", left, ""))
    lines.append(("kept · 保留", stats["kept"], ""))
    return _bars([(name, count) for name, count, _ in lines], [kind for _, _, kind in lines], total)


def _bars(rows: list[tuple[str, int]], kinds: list[str] | None = None, total: int | None = None) -> str:
    whole = max(total or sum(count for _, count in rows), 1)
    widest = whole if total else max((count for _, count in rows), default=1) or 1
    lines = [f'<tr><td>{escape(str(name))}</td><td class="n">{count:,}</td><td class="n">{count / whole:.1%}</td>'
             f'<td><div class="bar {kind}" style="width:{100 * count / widest:.2f}%"></div></td></tr>'
             for (name, count), kind in zip(rows, kinds or [""] * len(rows))]  # fmt: skip
    return f'<table class="bars">{"".join(lines)}</table>'


def _span(low: int) -> str:
    return f"{low:,} – {max(2 * low - 1, low):,}"


def _table(head: tuple[str, ...], rows: list[Row]) -> str:
    def cell(value: Any, tag: str, numeric: bool) -> str:
        shown = f"{value:,}" if isinstance(value, int | float) else escape(str(value))
        return f'<{tag} class="n">{shown}</{tag}>' if numeric else f"<{tag}>{shown}</{tag}>"

    numeric = [bool(rows) and isinstance(value, int | float) for value in (rows[0] if rows else head)]
    lines = ["".join(cell(value, "th", n) for value, n in zip(head, numeric))] if any(head) else []
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
