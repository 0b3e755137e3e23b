"""Writes `docs/recipes/NAME.md`, a page for each run that is named, and `docs/recipes/README.md`, the table of all pages.

    python tools/recipe_tables.py runs/sentiment-zh runs/grpo …

Everything on a page is from the run's own files: the same run gives the same bytes. Pages of runs that are not named stay as they
are. Recipes of the package that nobody has run are listed as such.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from yanmo.core import files
from yanmo.core.errors import YanmoError
from yanmo.evaluate.recipe_page import index, page, record_of

ROOT = Path(__file__).resolve().parents[1]
DOCS, RECIPES, INDEX = ROOT / "docs" / "recipes", ROOT / "yanmo" / "recipes", "README.md"


def write(runs: list[str], docs: Path = DOCS) -> list[Path]:
    """The files that were written."""
    made = []
    for run in runs:
        record = record_of(run)
        made.append(docs / f"{record.name}.md")
        files.write_text(made[-1], page(record))
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(docs.glob("*.md")) if path.name != INDEX}
    files.write_text(docs / INDEX, index(pages, sorted(path.stem for path in RECIPES.glob("*.yaml"))))
    return [*made, docs / INDEX]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Pages of runs, and their table.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the pages go")
    given = parser.parse_args(arguments)
    os.environ["YANMO_LANG"] = "en"  # the pages are English, whatever the reader's locale is
    given.docs.mkdir(parents=True, exist_ok=True)
    try:
        for path in write(given.runs, given.docs):
            print(path)
    except YanmoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
