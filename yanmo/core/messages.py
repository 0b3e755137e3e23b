"""Messages that render in English or in Chinese.

A message is written once, in English, as a template with named values: `text("no such file")`,
`text("did you mean '{name}'?", name="pos")`. The Chinese rendering is looked up by that template in
`locale/zh.json`; a template missing there shows in English, and a test lists what is missing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Text:
    template: str
    values: dict[str, Any] = field(default_factory=dict)

    def render(self, language: str | None = None) -> str:
        language = language or locale()
        template = catalogue(language).get(self.template, self.template)
        values = {k: v.render(language) if isinstance(v, Text) else v for k, v in self.values.items()}
        return template.format(**values)

    def __str__(self) -> str:
        return self.render()


def text(template: str, **values: Any) -> Text:
    return Text(template, values)


def locale() -> str:
    """'zh' where YANMO_LANG or the POSIX locale variables say Chinese, else 'en'."""
    for variable in ("YANMO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


@cache
def catalogue(language: str) -> dict[str, str]:
    path = Path(__file__).parent / "locale" / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
