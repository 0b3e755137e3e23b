"""Where the text came from, what was kept of it, and what was dropped and why, with examples."""

from __future__ import annotations

from yanmo.evaluate.numbers import count, group_name, say, size
from yanmo.evaluate.page import Markup, join, language_of, more, table, tag
from yanmo.evaluate.record import Json, Record

EXCERPT = 280  # characters of a dropped text
REASONS = 12


def section(record: Record) -> Markup | None:
    pieces = []
    for corpus in record.corpora:
        pieces += _corpus(record, corpus["stage"], corpus["stats"]) if corpus["stats"] else []
    return join(pieces) if pieces else None


def _corpus(record: Record, stage: str, stats: Json) -> list[Markup | None]:
    dropped, quarantined = sum(stats["dropped"].values()), sum(stats["quarantined"].values())
    held = stats.get("splits", {}).get("validation", {})
    intro = say("{total} documents were read; {kept} were kept, {dropped} dropped, {quarantined} could not be read and were "
                "set aside. {held} of those kept ({size}) are held out: no model was trained on them.",
                total=count(stats["in"]), kept=count(stats["kept"]), dropped=count(dropped), quarantined=count(quarantined),
                held=count(held.get("documents", 0)), size=size(held.get("bytes", 0)))  # fmt: skip
    head = [say("source"), say("language"), say("licence"), say("read"), say("kept"), say("size")]
    rows = [[[source["name"], tag("span", source["title"], cls="interval") if source.get("title") else None],
             group_name(f"language={source['language']}") if source.get("language") else "–",
             source.get("licence") or say("not stated"), count(source["in"]), count(source["kept"]), size(source["bytes"])]
            for source in stats.get("sources", [])]  # fmt: skip
    return [tag("p", intro), table(head, rows, numbers=[3, 4, 5]) if rows else None, _reasons(record, stage, stats)]


def _reasons(record: Record, stage: str, stats: Json) -> Markup | None:
    """Each reason with how often, and a few of the texts."""
    total = stats["in"] or 1
    counted = [("dropped", reason, n) for reason, n in stats["dropped"].items()]
    counted += [("quarantined", reason, n) for reason, n in stats["quarantined"].items()]
    counted.sort(key=lambda item: (-item[2], item[1]))
    if not counted:
        return None
    fates = {"dropped": say("dropped"), "quarantined": say("set aside")}
    rows = [[reason, fates[fate], count(n), f"{n / total:.1%}"] for fate, reason, n in counted]
    examples = [piece for fate, reason, _ in counted[:REASONS] for piece in _examples(record, stage, fate, reason)]
    return join([table([say("reason"), "", say("documents"), say("share")], rows, numbers=[2, 3]),
                 more(say("What was dropped: examples"), examples) if examples else None])  # fmt: skip


def _examples(record: Record, stage: str, fate: str, reason: str) -> list[Markup]:
    found = record.rejected(stage, fate).get(reason, [])
    pieces = [tag("h3", reason)] if found else []
    for row in found:
        cut = row["text"][:EXCERPT] + ("…" if len(row["text"]) > EXCERPT else "")
        place = f"{row['file']}:{row['line']}" if row.get("line") else f"{row['file']} [{row['start']}, {row['end']})"
        value = f" · {row['value']}" if row.get("value") else ""
        pieces.append(tag("p", cut, cls="excerpt", lang=language_of(cut)))
        pieces.append(tag("p", place + value, cls="note"))
    return pieces
