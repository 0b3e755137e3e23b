"""Small real data, shipped with the package: one folder a sample, with its LICENSE and its SOURCE beside the data.

| name | what | fields |
|---|---|---|
| `moby_dick` | an English novel, a chapter a document | `id`, `title`, `text` |
| `state_of_the_union` | American speeches, 1790 to 2019 | `id`, `year`, `president`, `party`, `text` |
| `sanguo` | a Chinese novel (simplified), a chapter a document | `id`, `title`, `text` |
| `tang_poems` | Chinese poems (traditional) | `id`, `title`, `author`, `text` |
| `intents` | commands to a smart home, English and Chinese | `text`, `label`, `language`, `template` |
| `minimal_pairs` | pairs of sentences, one ungrammatical, English and Chinese | the fields of BLiMP, `language` |
| `sums` | sums in digits and Chinese numerals, many wrong; prompts; pairs | `text` · `prompt`, `answer`, `chosen`, `rejected` |

`SOURCE` is YAML: package, version, hash (of our own work the tool that makes it), author, licence, what was changed, and
the hash of each file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from yanmo.core.errors import DataError, nearest


def names() -> list[str]:
    """The samples, in alphabetical order."""
    return sorted(entry.parent.name for entry in _root().glob("*/SOURCE"))


def path(name: str) -> Path:
    """The folder of a sample."""
    if name not in names():
        raise DataError(f"sample {name!r}", "one of " + ", ".join(names()), repr(name), nearest(name, names()))
    return _root() / name


def source(name: str) -> dict[str, Any]:
    """Where a sample comes from, under which licence, and what was changed: its SOURCE file."""
    import yaml

    found: dict[str, Any] = yaml.safe_load((path(name) / "SOURCE").read_text(encoding="utf-8"))
    return found


def _root() -> Path:
    return Path(str(files(__name__)))
