"""What changed copies of labelled texts gain, and what several models together gain, on the shipped intents in both languages.

    python -m benchmarks.augmentation [--json] [--rows 500 4000] [--seeds 3] [--steps 400] [--there MODEL --back MODEL]

A CNN over characters is trained for the same number of steps on `rows` labelled texts: as they are, with copies of each kind,
and, of the texts as they are, `seeds` models together and the five models of a five-fold division together. The test part has
templates of its own. A gain is a difference of means over seeds on the same items; its interval draws items and seeds anew.
Translators that say a text in other words (`back_translation`) are yours to give; without them that row is left out and said.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from yanmo.evaluate import seeds
from yanmo.evaluate.compare import gap
from yanmo.evaluate.record import Record
from yanmo.samples import path

SHARES = {"swap": 0.1, "delete": 0.15, "insert": 0.1, "synonym": 0.2, "keyboard": 0.05, "homophone": 0.1}
KINDS: dict[str, dict[str, Any]] = {kind: {"type": kind, "share": share} for kind, share in SHARES.items()}
FOLDS = 5
METRIC = "macro_f1"


def recipe(kinds: dict[str, dict[str, Any]], count: int, steps: int) -> dict[str, Any]:
    """Everything that is compared, as the stages of one run in the folder with the texts."""
    task = {"type": "classify", "path": {split: f"{split}.jsonl" for split in ("train", "validation", "test")}}

    def tuned(name: str, **changed: Any) -> dict[str, Any]:
        return {"name": name, "finetune": {
            "tokenizer": "tokenizer", "model": {"type": "cnn", "widths": [2, 3, 4, 5], "dropout": 0.5}, "task": task | changed,
            "train": {"steps": steps, "batch_tokens": 1500, "validate_every": max(1, steps // 8),
                      "optim": {"type": "adamw", "lr": 0.02}},
        }}  # fmt: skip

    plain = [tuned(f"plain-seed{seed}") for seed in range(count)]
    changed = [tuned(f"{name}-seed{seed}", augment=[kind]) for name, kind in kinds.items() for seed in range(count)]
    folds = [tuned(f"fold{fold}", folds=FOLDS, fold=fold) for fold in range(FOLDS)]
    together = [[f"plain-seed{seed}" for seed in range(count)], [f"fold{fold}" for fold in range(FOLDS)]]
    return {"name": "augmentation", "seed": 0, "stages": [
        {"corpus": {"source": {"type": "jsonl", "path": "train.jsonl"}}},
        {"tokenizer": {"type": "characters"}},
        *plain, *changed, *folds,
        {"evaluate": {"tasks": [task], "ensembles": together}},
    ]}  # fmt: skip


def write(folder: Path, rows: int) -> None:
    """The shipped intents, of the training part `rows` by chance; the validation part in proportion, as it would be."""
    for split in ("train", "validation", "test"):
        lines = (path("intents") / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        if split != "test":
            random.Random(0).shuffle(lines)
            lines = lines[: rows if split == "train" else max(100, rows // 6)]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def gains(record: Record, count: int) -> list[dict[str, Any]]:
    """[{way, value, sd, gain: {value, low, high}}], the texts as they are first."""
    found = {family.model: family for family in seeds.families(record) if family.metric == METRIC}
    plain = found.pop("plain")
    rows = [{"way": "as they are", "value": plain.row()["value"], "sd": plain.row()["sd"], "gain": None}]
    for name, family in found.items():
        (row,) = seeds.differences([plain], [family._replace(model="plain")])
        rows.append({"way": name, "value": row["second"]["value"], "sd": row["second"]["sd"], "gain": row["difference"]})
    task = plain.task
    alone = list(record.answers("plain-seed0", task))
    for way, members in ((f"{count} seeds together", [f"plain-seed{seed}" for seed in range(count)]),
                         (f"{FOLDS} folds together", [f"fold{fold}" for fold in range(FOLDS)])):  # fmt: skip
        model = "+".join(members)
        value = record.figure(model, task, METRIC)["value"]
        gain = gap("classify", METRIC, alone, list(record.answers(model, task)))
        gain["value"] = value - record.figure("plain-seed0", task, METRIC)["value"]
        rows.append({"way": way, "value": value, "sd": None, "gain": gain})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augmentation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 4000], help="labelled texts to train on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--there", help="a model tuned to translate, and")
    parser.add_argument("--back", help="one that translates back: adds the row back_translation")
    given = parser.parse_args()
    kinds = dict(KINDS)
    if given.there and given.back:
        kinds["back_translation"] = {"type": "back_translation", "there": str(Path(given.there).resolve()),
                                     "back": str(Path(given.back).resolve())}  # fmt: skip
    else:
        print("back_translation: not measured, --there and --back name no translators", file=sys.stderr)
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write(folder, rows)
            (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(kinds, given.seeds, given.steps), sort_keys=False))
            run = [sys.executable, "-m", "yanmo", "run", "recipe.yaml", "--run-dir", "run", "--quiet"]
            subprocess.run(run, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            for row in gains(Record(folder / "run", folder / "run/evaluate"), given.seeds):
                gain = row["gain"]
                if given.json:
                    entry = {"benchmark": "augmentation", "case": f"{rows} rows: {row['way']}", "kind": "info"}
                    print(json.dumps(entry | {"ours": row["value"], "unit": METRIC, "sd": row["sd"], "gain": gain}), flush=True)
                    continue
                said = f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else ""
                spread = f"± {row['sd']:.3f}" if row["sd"] is not None else ""
                print(f"{rows:>6} rows  {row['way']:<20} {row['value']:.3f} {spread:<8} {said}", flush=True)


if __name__ == "__main__":
    main()
