"""CC-CEDICT, the free Chinese-English dictionary, as it is distributed: a line an entry, `#` before remarks.

    軟件 软件 [ruan3 jian4] /software (Tw: 軟體)/computer program/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from yanmo.core.config import describe
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import written

ENTRY = re.compile(r"(\S+) (\S+) \[[^\]]*\] /(.+)/")
BRACKETS = re.compile(r"\([^()]*\)")
REFERENCES = ("variant of", "old variant", "see ", "CL:", "surname ", "abbr. for", "also written", "also pr.", "used in ")
ARTICLES = ("to ", "a ", "an ", "the ")


def glosses(path: Path) -> Iterator[tuple[str, str]]:
    """(the word in simplified characters, an English gloss), the glosses of a word in their order; references to other entries
    and remarks in brackets are left out. DataError for a line that is no entry."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip() or line.startswith("#"):
                continue
            entry = ENTRY.fullmatch(line.strip())
            if entry is None or any("\udc80" <= character <= "\udcff" for character in line):
                raise DataError(f"{written(path)}:{number}", text("an entry of CC-CEDICT"), describe(line.strip()))
            for gloss in entry[3].split("/"):
                for meaning in gloss.split(";"):
                    plain = " ".join(BRACKETS.sub(" ", meaning).split())
                    if plain and not plain.startswith(REFERENCES):
                        for article in ARTICLES:
                            plain = plain.removeprefix(article)
                        if plain:
                            yield entry[2], plain
