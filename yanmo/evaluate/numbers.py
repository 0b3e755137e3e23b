"""Numbers as people read them, in the report, the card and the comparison."""

from __future__ import annotations

from typing import Any

from yanmo.core.messages import catalogue, locale, text

SPACE = "\u00a0"  # a number keeps its unit
DIGITS = {"pseudo_perplexity": 1, "bits_per_byte": 3, "perplexity": 1, "accuracy": 3, "macro_f1": 3, "ece": 3, "chrf": 1,
          "bleu": 1}


def say(template: str, **values: Any) -> str:
    """A message in the reader's language."""
    return text(template, **values).render()


def heard(message: str) -> str:
    """A message that was stored in English, in the reader's language where it has no values in it."""
    return catalogue(locale()).get(message, message)


def metric_name(metric: str) -> str:
    names = {"bits_per_byte": say("bits per byte"), "perplexity": say("perplexity"), "accuracy": say("accuracy"),
             "macro_f1": say("macro-F1"), "ece": say("calibration error"),
             "pseudo_bits_per_byte": say("pseudo bits per byte"), "pseudo_perplexity": say("pseudo perplexity"),
             "micro_f1": say("micro-F1"), "f1": "F1", "precision": say("precision"), "recall": say("recall"),
             "macro_precision": say("macro precision"), "macro_recall": say("macro recall"), "mcc": "MCC", "auroc": "AUROC",
             "exact_match": say("exact match"), "bleu": "BLEU", "chrf": "chrF", "rouge_1": "ROUGE-1", "rouge_2": "ROUGE-2",
             "rouge_l": "ROUGE-L"}  # fmt: skip
    return names.get(metric, metric.replace("_", " "))


def figure(value: float | None, metric: str = "") -> str:
    if value is None:
        return "–"
    return f"{value:,.{DIGITS.get(metric, 3)}f}"


def bounds(row: dict[str, Any]) -> str:
    """'[1.83, 1.91]', or nothing where there is no interval."""
    if row.get("low") is None or row.get("high") is None or row["low"] == row["high"]:
        return ""
    return f"[{figure(row['low'], row['metric'])}, {figure(row['high'], row['metric'])}]"


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """1,234,567 → 1.23 M."""
    if value is None:
        return "–"
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            return f"{_three(value / (1e3 if unit == 'k' else bound))}{SPACE}{unit}"
    return f"{value:,.0f}"


def _three(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes, decimal: 3,400,000 → 3.4 MB."""
    if value is None:
        return "–"
    for bound, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= bound:
            return f"{_three(value / bound)}{SPACE}{unit}"
    return f"{value:.0f}{SPACE}B"


def energy(joules: float | None) -> str:
    """7200 → 2 Wh; nothing is known of None."""
    if joules is None:
        return say("unknown")
    return f"{_three(joules / 3.6e6)}{SPACE}kWh" if joules >= 3.6e6 else f"{_three(joules / 3600)}{SPACE}Wh"


def carbon(cost: dict[str, Any]) -> str:
    """What `core.energy.carbon` says, for people: 1.2 g CO₂ (CHN)."""
    if "grams" not in cost:
        return say("unknown")
    grams = float(cost["grams"])
    amount = f"{_three(grams / 1000)}{SPACE}kg" if grams >= 1000 else f"{_three(grams)}{SPACE}g"
    return f"{amount} ({cost['country']})" if "country" in cost else amount


def duration(seconds: float | None) -> str:
    """4.25 → 4.3 s, 200 → 3 min 20 s, 7300 → 2 h 2 min."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.1f}{SPACE}s" if seconds < 10 else f"{seconds:.0f}{SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{SPACE}min{SPACE}{whole % 60}{SPACE}s" if whole % 60 else f"{whole // 60}{SPACE}min"
    return f"{whole // 3600}{SPACE}h{SPACE}{whole % 3600 // 60}{SPACE}min"


def group_name(group: str) -> str:
    """'language=zh' → 'Chinese'; 'source=moby_dick' → 'moby_dick'."""
    key, _, value = group.partition("=")
    names = {"en": say("English"), "zh": say("Chinese")}
    if key == "strength":
        return say("strength {value}", value=value)
    return names.get(value, value) if key == "language" else value
