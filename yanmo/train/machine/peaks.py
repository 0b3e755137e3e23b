"""What GPUs can do at most, as their makers publish it: the denominator of MFU.

Dense bfloat16 (float16 where a GPU has no bfloat16) matrix products with float32 accumulation, in operations a second; figures
"with sparsity" are halved. From NVIDIA's data sheets of the A100 (2020), A10, A30, A40, H100 (2022), H200, L4, L40, L40S and
B200, the architecture papers of GA102 (2020, appendix A) and Ada (2022, appendix A) for the GeForce and RTX cards, the V100
and T4 data sheets, and AMD's data sheets of MI250X, MI300X and MI325X.

A model's FLOPs utilisation (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) is always taken against this figure, whatever
format the run computes in: a run in float32 then shows what it leaves unused.
"""

from __future__ import annotations

import re

PEAKS = {  # words of the name that the driver gives → operations a second; the first whose words are all there
    "B200": 2250e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIE": 756e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 149.7e12,
    "A30": 165e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 6000 ADA": 364e12,
    "RTX A6000": 154.8e12,
    "4090": 165.2e12,
    "4080": 97.5e12,
    "3090": 71e12,
    "3080": 59.5e12,
    "V100": 125e12,
    "T4": 65e12,
    "MI325X": 1307e12,
    "MI300X": 1307e12,
    "MI250X": 383e12,
}


def peak(name: str) -> float | None:
    """Of the GPU that calls itself `name`; None for one that is not listed, and for a slice of one (MIG)."""
    words = set(re.findall(r"[A-Z0-9]+", name.upper()))
    if "MIG" in words:
        return None
    return next((rate for known, rate in PEAKS.items() if set(known.split()) <= words), None)
