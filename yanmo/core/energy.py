"""What a piece of work took: wall clock, processor time, and energy; and how much carbon dioxide that energy stands for.

Energy is read from counters where the system shows them: the processor's (RAPL, whole packages, so everything that ran on
them) and the GPU's (NVML, since Volta). Where the processor has none, its energy is estimated from the processor time of this
process, at WATTS for a busy core and its share of the rest of the machine: good for comparing runs on one machine, not for a
bill. A GPU whose energy nothing tells makes the whole unknown: a sum that leaves out most of it is worse than none.

`method` says which it is: 'measured', 'estimated' or 'unknown'; of two it is the weaker.

Why our own reading, and not codecarbon's tracker (3.3.2, read and run; figures in LOG.md): it looks every 15 seconds unless told
otherwise, where a budget of energy is looked at after every step; its sums do not survive a kill; and where there are no
counters it takes the rated power of the whole package for however few of its cores are rented (or 4 W a thread for a name that
it does not know), and a constant for all memory of the machine that was the larger part of what it told. What it knows of the
carbon in each country's electricity is used, offline, where it is installed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yanmo.core.errors import RequestError, nearest
from yanmo.core.messages import Text, text

WATTS = 10.0  # a busy core with its share of memory: 60 to 280 W packages of 8 to 32 cores lie between 5 and 12
MOST = 600.0  # watts of a processor package: between readings further apart than its counter's range takes at this, it may
#               have begun again unseen
COUNTERS = Path("/sys/class/powercap")
METHODS = ("measured", "estimated", "unknown")  # the weaker, the later
COUNTRY = "YANMO_COUNTRY"


class Meter:
    """Counts from its making on. `gpus`: the UUIDs of the GPUs that the work runs on, as torch or nvidia-smi tell them."""

    def __init__(self, gpus: Sequence[str] = ()) -> None:
        self.started, self.used = time.monotonic(), _processor_seconds()
        self._packages, self._read = _packages(), self.started
        self._last, self._repeated = self._packages, _mirrors(self._packages)
        self._microjoules = 0
        self._sure = True
        self._gpus = [_Gpu(uuid) for uuid in gpus]

    def read(self) -> dict[str, Any]:
        """{"seconds", "cpu_seconds", "joules", "method"}; "joules" is None where the method is 'unknown'."""
        now, used = time.monotonic(), _processor_seconds() - self.used
        joules, method = self._processor(now, used)
        for gpu in self._gpus:
            joules, method = joules + gpu.joules(), weaker(method, gpu.method)
        return {"seconds": round(now - self.started, 3), "cpu_seconds": round(used, 3),
                "joules": None if method == "unknown" else round(joules, 1), "method": method}  # fmt: skip

    def _processor(self, now: float, used: float) -> tuple[float, str]:
        current = _packages()
        if not self._packages or current.keys() != self._packages.keys():
            return used * WATTS, "estimated"
        for name in current.keys() - self._repeated:
            value, limit = current[name]
            self._microjoules += (value - self._last[name][0]) % (limit or 1 << 64)
            self._sure = self._sure and (not limit or (now - self._read) * MOST < limit / 1e6)
        self._last, self._read = current, now
        return self._microjoules / 1e6, "measured" if self._sure else "estimated"


def named(method: str) -> Text:
    """A method as people read it."""
    return {"measured": text("measured"), "estimated": text("estimated"), "unknown": text("unknown")}[method]


def weaker(first: str, second: str) -> str:
    """Of two methods the one that is worth less."""
    return max(first, second, key=METHODS.index)


def country() -> str | None:
    """What the environment says of where the machine stands: an ISO 3166 code of three letters, or nothing."""
    return os.environ.get(COUNTRY) or None


def check_country(code: str, where: str) -> None:
    """RequestError for a code that nobody knows; anything goes where the figures are not installed."""
    known = _intensities()
    if known and code.upper() not in known:
        raise RequestError(where, text("a country's ISO 3166 code of three letters, such as CHN or DEU"), code,
                           nearest(code.upper(), known))  # fmt: skip


def carbon(joules: float | None, code: str | None) -> dict[str, Any]:
    """{"grams", "country", "grams_per_kwh", "year", "source"}: CO2-equivalent of the electricity, at the country's mean of a
    year; nothing where energy, country or its figure are unknown. It is an estimate, however the energy was found."""
    entry = _intensities().get(code.upper()) if code else None
    if entry is None or joules is None or code is None:
        return {}
    return {"grams": round(joules / 3.6e6 * entry["carbon_intensity"], 4), "country": code.upper(),
            "grams_per_kwh": entry["carbon_intensity"], "year": entry["year"],
            "source": f"codecarbon {metadata.version('codecarbon')}"}  # fmt: skip


@cache
def _intensities() -> dict[str, dict[str, Any]]:
    """ISO code → codecarbon's entry for the country (Our World in Data's figures); nothing where it is not installed. The file
    is read as it is, without the library."""
    found = find_spec("codecarbon")
    folders = list(found.submodule_search_locations or []) if found else []
    path = Path(folders[0]) / "data" / "private_infra" / "global_energy_mix.json" if folders else None
    if path is None or not path.is_file():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {code: entry for code, entry in entries.items() if entry.get("carbon_intensity") is not None}


class _Gpu:
    """One GPU's energy: its counter, or its power at each reading times the time since the one before, or unknown."""

    def __init__(self, uuid: str):
        self.method, self._handle, self._joules, self._read = "unknown", None, 0.0, time.monotonic()
        try:
            import pynvml

            self._nvml = pynvml
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid[:3] in ("GPU", "MIG") else f"GPU-{uuid}")
        except Exception:  # not installed, no driver, or hidden from us: each has its own class of error
            return
        self._first = self._counter()
        self.method = "estimated" if self._first is None and self._watts() is not None else self.method
        self.method = "measured" if self._first is not None else self.method

    def joules(self) -> float:
        now = time.monotonic()
        if self.method == "measured":
            value = self._counter()
            if value is None or self._first is None:
                self.method = "unknown"
            else:
                self._joules = (value - self._first) / 1e3
        elif self.method == "estimated":
            self._joules += (self._watts() or 0.0) * (now - self._read)
        self._read = now
        return self._joules

    def _counter(self) -> int | None:
        """Millijoules since the driver was loaded (nvmlDeviceGetTotalEnergyConsumption)."""
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return None

    def _watts(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except self._nvml.NVMLError:
            return None


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def _packages() -> dict[str, tuple[int, int]]:
    """(microjoules so far, where the counter begins again) of each processor package that can be read."""
    found: dict[str, tuple[int, int]] = {}
    for folder in sorted(COUNTERS.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:
            continue  # a part of a package
        try:
            limit = int((folder / "max_energy_range_uj").read_text())
            found[folder.name] = (int((folder / "energy_uj").read_text()), limit)
        except (OSError, ValueError):
            continue
    return found


def _mirrors(packages: dict[str, tuple[int, int]]) -> set[str]:
    """Those that only repeat another: the dies of one package may all show its one counter (codecarbon's issue 1274). Read one
    after the other they are within a joule; counters of different packages that have run for a while are not."""
    names = list(packages)
    return {name for index, name in enumerate(names) if packages[name][0]
            and any(packages[name][1] == packages[other][1] and abs(packages[name][0] - packages[other][0]) < 1_000_000
                    for other in names[:index])}  # fmt: skip
