"""Bytes and joules for people."""

from __future__ import annotations


def size(amount: float) -> str:
    """1.5 GB, 12 MB."""
    return _shown(amount, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")), "B")


def energy(joules: float) -> str:
    """12 kJ, 3.4 MJ."""
    return _shown(joules, ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")), "J")


def _shown(amount: float, units: tuple[tuple[float, str], ...], smallest: str) -> str:
    for bound, unit in units:
        if amount >= bound:
            return f"{amount / bound:.3g} {unit}"
    return f"{amount:.0f} {smallest}"
