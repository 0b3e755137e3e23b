"""The wheel, in an environment that holds nothing of this checkout, runs the demo's line."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.line.conftest import TOY, write_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


def test_the_wheel_alone(tmp_path):
    """Dependencies come from this environment through a .pth file, Yanmo only from the wheel (installed without network)."""
    done = subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next(tmp_path.glob("yanmo-*.whl"))
    assert wheel.stat().st_size < 15e6
    names = zipfile.ZipFile(wheel).namelist()
    assert "yanmo/recipes/quickstart.yaml" in names
    assert any(name.startswith("yanmo/samples/intents/") for name in names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    site = next((tmp_path / "venv").glob("lib/python3*/site-packages"))
    here = next(p for p in sys.path if p.endswith("site-packages"))
    mine = tmp_path / "dependencies"
    mine.mkdir()
    for entry in Path(here).iterdir():  # everything but this checkout's editable install
        if "yanmo" not in entry.name.lower():
            (mine / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(str(mine) + "\n")
    zipfile.ZipFile(wheel).extractall(site)
    write_data(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1", "YANMO_LANG": "en"}

    def yanmo(*arguments):
        return subprocess.run([python, "-m", "yanmo", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)

    where = subprocess.run([python, "-c", "import yanmo; print(yanmo.__file__)"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert str(site) in where.stdout
    ran = yanmo("run", "quickstart", *TOY)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "runs" / "quickstart" / "report.html").is_file()
