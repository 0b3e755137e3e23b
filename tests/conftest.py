"""Fixtures for every test; nothing here is imported by name."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("YANMO_LANG", "en")  # messages are compared in English unless a test says otherwise


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
