"""Fixtures for every test; nothing here is imported by name."""

from __future__ import annotations

import os
import shutil

import pytest

os.environ.setdefault("YANMO_LANG", "en")  # messages are compared in English unless a test says otherwise


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items):
    if shutil.which("java") or os.environ.get("JAVA_HOME"):
        return
    for item in items:
        if item.get_closest_marker("spark"):
            item.add_marker(pytest.mark.skip(reason="no Java here: Spark cannot start"))
