"""What takes so long that CI runs a part of it: `make test-slow YANMO_LONG=1` runs the whole."""

from __future__ import annotations

import os

import pytest

LONG = bool(os.environ.get("YANMO_LONG"))
long = pytest.mark.skipif(not LONG, reason="minutes each: set YANMO_LONG=1")
