"""How well main text is found in web pages, by the evaluation set of trafilatura: python -m benchmarks.extraction FOLDER

FOLDER is the `tests` folder of a checkout of trafilatura (evaldata.json, eval/, cache/), which is not ours to ship. Each page
has up to six snippets that belong to its text and six that do not; a snippet counts where it occurs in the extracted text,
blank space aside. `ours` is the F-score of a tier; the peer is trafilatura itself with its evaluation's options.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLANK = re.compile(r"\s+")


def norm(text: str) -> str:
    return BLANK.sub(" ", text).strip()


def score(extract: Callable[[bytes], str | None], folder: Path) -> dict[str, float]:
    """{"f", "precision", "recall", "accuracy", "pages_a_second"}"""
    items = json.loads((folder / "evaldata.json").read_text(encoding="utf-8"))
    true = false = missed = refused = 0
    seconds = 0.0
    for _, item in sorted(items.items()):
        path = next(p for p in (folder / "cache" / item["file"], folder / "eval" / item["file"]) if p.is_file())
        data = path.read_bytes()
        started = time.process_time()
        found = norm(extract(data) or "")
        seconds += time.process_time() - started
        inside = sum(norm(snippet) in found for snippet in item["with"])
        outside = sum(norm(snippet) in found for snippet in item["without"])
        true, missed = true + inside, missed + len(item["with"]) - inside
        false, refused = false + outside, refused + len(item["without"]) - outside
    precision, recall = true / (true + false), true / (true + missed)
    return {"f": 2 * precision * recall / (precision + recall), "precision": precision, "recall": recall,
            "accuracy": (true + refused) / (true + false + missed + refused), "pages_a_second": len(items) / seconds}  # fmt: skip


def tiers() -> dict[str, Callable[[bytes], str | None]]:
    import trafilatura

    from yanmo.corpus.web.html import extract

    return {
        "quality": lambda data: extract(data, "quality").text,
        "fast": lambda data: extract(data, "fast").text,
        "trafilatura": lambda data: trafilatura.extract(
            data, include_comments=False, include_tables=True, include_formatting=False
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    found = {name: score(extract, given.folder) for name, extract in tiers().items()}
    peer: dict[str, Any] = found.pop("trafilatura")
    for name, values in found.items():
        entry = {"benchmark": "extraction", "case": name, "kind": "peer", "ours": round(values["f"], 4), "peer": "trafilatura",
                 "peer_value": round(peer["f"], 4), "ratio": round(values["f"] / peer["f"], 4), "unit": "F1",
                 **{key: round(values[key], 4) for key in ("precision", "recall", "accuracy", "pages_a_second")},
                 "peer_pages_a_second": round(peer["pages_a_second"], 1)}  # fmt: skip
        if given.json:
            print(json.dumps(entry))
        else:
            print(f"{name:<10} F1 {entry['ours']:.4f} (trafilatura {entry['peer_value']:.4f}), "
                  f"precision {entry['precision']:.3f}, recall {entry['recall']:.3f}, "
                  f"{entry['pages_a_second']:.0f} pages/s (trafilatura {entry['peer_pages_a_second']:.0f})")  # fmt: skip


if __name__ == "__main__":
    main()
