"""`yanmo new`: a commented recipe for the user's own text, written after a look at it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from yanmo.core.errors import DataError, RequestError
from yanmo.core.files import write_text
from yanmo.core.messages import text
from yanmo.core.paths import expand

ENDINGS = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


def draft(name: str, path: str | None, labels: str | None, minutes: float = 10) -> Path:
    """Writes NAME.yaml into the working directory; RequestError where it exists or the data does not."""
    target = Path(name if name.endswith(".yaml") else f"{name}.yaml")
    stem = target.stem
    if target.name != str(target) or not stem.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise RequestError(name, text("a name of letters, digits, '.', '_' and '-'"), name)
    if path is None and labels is None:
        raise RequestError("yanmo new", text("--text FOLDER, --labels FILE, or both"), text("neither"))
    if target.exists():
        raise RequestError(str(target), text("a new file"), text("it exists"), text("choose another name, or remove it"))
    if not minutes > 0:
        raise RequestError("--minutes", text("a number above {limit}", limit=0), str(minutes))
    lines = [f"# A recipe for Yanmo. Check it with: yanmo check {target}   Run it with: yanmo run {target}",
             f"name: {stem}", "seed: 0",
             f"budget: {{minutes: {minutes:g}}}     # wall clock for everything; sizes follow from it",
             "stages:"]  # fmt: skip
    if path is not None:
        lines += _corpus(path)
    if labels is not None:
        lines += _labelled(labels, path is not None)
    tasks = ["        - {type: language_modeling}"] if path is not None else []
    if labels is not None:
        tasks.append("        - *labels")
    lines += ["", "  # Every model above on the same held-out data, with intervals; then report.html and card.md.",
              "  - evaluate:", "      tasks:", *tasks]  # fmt: skip
    write_text(target, "\n".join(lines) + "\n")
    return target


def _corpus(path: str) -> list[str]:
    found = expand(path)
    if not any(p.stat().st_size for p in found):
        raise DataError(path, text("some text"), text("only empty files"))
    kinds = {ENDINGS.get(p.suffix.lower().removesuffix(".gz") or Path(p.stem).suffix, "text") for p in found}
    kind = kinds.pop() if len(kinds) == 1 else "text"
    source: dict[str, Any] = {"type": kind, "path": path}
    if kind != "text":
        fields = _fields(found[0], kind)
        if fields and "text" not in fields:
            source["fields"] = {"text": max(fields, key=lambda key: len(str(fields[key])))}
    return [
        "  # Documents: read, cleaned, deduplicated; what is dropped is kept beside, with the reason.",
        "  - corpus:",
        f"      source: {_flow(source)}",
        "      steps:",
        "        - {type: normalize}              # Unicode NFC, line ends, control characters",
        "        - {type: length, min_chars: 20}  # drop fragments",
        "        - {type: exact_dedup}",
        "        - {type: minhash_dedup}          # near-duplicates",
        "",
        "  # Size left open: chosen for the amount of text. `{type: characters}` is the other kind.",
        "  - tokenizer: {type: bpe}",
        "",
        "  # A counted model as the yardstick, then the Transformer; depth, batch and steps follow from the budget.",
        "  - {name: ngram, pretrain: {model: {type: ngram, order: 5}}}",
        "  - {name: transformer, pretrain: {model: {type: transformer}}}",
        "",
        "  # The network and counts of the same tokens as one model, far better than either where the time is short.",
        "  - {name: mixture, mix: {model: transformer}}",
    ]


def _labelled(labels: str, pretrained: bool) -> list[str]:
    found = expand(labels)
    kind = ENDINGS.get(found[0].suffix.lower())
    if kind not in ("jsonl", "csv"):
        raise DataError(labels, text("labelled texts as .jsonl or .csv"), found[0].name)
    fields = _fields(found[0], kind)
    task: dict[str, Any] = {"type": "classify", "path": labels}
    renamed = {}
    if fields and "text" not in fields:
        renamed["text"] = max(fields, key=lambda key: len(str(fields[key])))
    if fields and "label" not in fields:
        others = [key for key in fields if key != renamed.get("text", "text")]
        named = [key for key in others if any(word in key.lower() for word in ("label", "class", "intent", "sentiment", "标签"))]
        if not others:
            raise DataError(labels, text("a field 'label' beside the text"), text("the fields {names}", names=", ".join(fields)))
        renamed["label"] = (named or others)[0]
    if renamed:
        task["fields"] = renamed
    lines = ["", "  # Floors first: the majority class, and TF-IDF with logistic regression, which is often hard to beat.",
             f"  - {{name: majority, finetune: {{model: {{type: majority}}, task: &labels {_flow(task)}}}}}",
             "  - {name: tfidf, finetune: {model: {type: tfidf}, task: *labels}}"]  # fmt: skip
    if pretrained:
        lines.append("  - {name: classifier, finetune: {model: transformer, task: *labels}}")
    return lines


def _fields(path: Path, kind: str) -> dict[str, Any]:
    """The first row, as field → value; empty where it cannot be read (`yanmo check` says why)."""
    try:
        if kind == "jsonl":
            import gzip

            with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as handle:
                row = json.loads(next(line for line in handle if line.strip()))
                return row if isinstance(row, dict) else {}
        if kind == "csv":
            with open(path, encoding="utf-8-sig", newline="") as handle:
                return dict(next(csv.DictReader(handle, delimiter="\t" if path.suffix == ".tsv" else ",")))
        import pyarrow.parquet

        return dict.fromkeys(pyarrow.parquet.read_schema(path).names, "")
    except (OSError, ValueError, StopIteration):
        return {}


def _flow(value: Any) -> str:
    """Plain data as one line of YAML."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000).strip()
