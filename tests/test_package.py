"""The package as a whole: light to import, layered, every part documented."""

from __future__ import annotations

import subprocess
import sys

import pytest

from yanmo.core.config import Part
from yanmo.core.registry import NO_PARTS, PARTS, lookup

HEAVY = ("torch", "transformers", "pyspark", "pandas", "sklearn", "matplotlib", "fastapi", "pyarrow", "numpy")


def imported(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("code", ["import yanmo", "from yanmo.cli import main; main(['--help'])", "import yanmo.core.run"])
def test_importing_is_light(code):
    assert not imported(code) & set(HEAVY)


def test_the_corpus_and_text_layers_never_import_torch():
    code = "import pkgutil, importlib, yanmo.corpus, yanmo.text\n"
    code += "for package in (yanmo.corpus, yanmo.text):\n    for m in pkgutil.walk_packages(package.__path__, package.__name__ + '.'): importlib.import_module(m.name)\nimport sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in PARTS.items() for name in table])
def test_every_part_exists_and_says_what_it_is(kind, name):
    cls = lookup(kind, name)
    assert (cls.__doc__ or "").strip()
    if kind not in NO_PARTS:
        assert issubclass(cls, Part)
        assert cls.model_json_schema()
