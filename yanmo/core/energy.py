"""What a piece of work took: wall clock, processor time, and energy.

Energy is read from the processor's own counters (RAPL) where the system shows them. Elsewhere it is estimated from the
processor time, at WATTS for a busy core and its share of the rest of the machine: good for comparing runs on one machine,
not for a bill. `method` says which it is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

WATTS = 10.0  # a busy core with its share of memory: 60 to 280 W packages of 8 to 32 cores lie between 5 and 12
COUNTERS = Path("/sys/class/powercap")


class Meter:
    """Counts from its making on."""

    def __init__(self) -> None:
        self.started, self.used, self.counters = time.monotonic(), _processor_seconds(), _counters()

    def read(self) -> dict[str, Any]:
        """{"seconds", "cpu_seconds", "joules", "method": "measured" | "estimated"}"""
        seconds, used, counters = time.monotonic() - self.started, _processor_seconds() - self.used, _counters()
        joules, method = used * WATTS, "estimated"
        if counters and counters.keys() == self.counters.keys():
            spent = [(counters[name][0] - first) % (limit or 1 << 64) for name, (first, limit) in self.counters.items()]
            joules, method = sum(spent) / 1e6, "measured"
        return {"seconds": round(seconds, 3), "cpu_seconds": round(used, 3), "joules": round(joules, 1), "method": method}


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def _counters() -> dict[str, tuple[int, int]]:
    """(microjoules so far, where the counter begins again) of each processor package that can be read."""
    found = {}
    for folder in sorted(COUNTERS.glob("intel-rapl:?")):
        try:
            limit = int((folder / "max_energy_range_uj").read_text())
            found[folder.name] = (int((folder / "energy_uj").read_text()), limit)
        except (OSError, ValueError):
            continue
    return found
