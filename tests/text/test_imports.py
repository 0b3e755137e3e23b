"""The text layer is light: whoever tokenizes, renders or scores needs no torch."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "sklearn", "pandas", "matplotlib", "jinja2")
MODULES = ("tokenizer", "bpe", "characters", "chat", "language", "metrics.f1", "metrics.bootstrap", "metrics.calibration")


def test_nothing_heavy_is_imported():
    code = "import sys\n" + "".join(f"import yanmo.text.{name}\n" for name in MODULES)
    code += f"print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
