"""The layers that models are composed of.

Tensors of 2 MiB and more are kept on huge pages where the system has them. A training step makes and drops hundreds of
megabytes, and faulting those in 4 KiB at a time was measured at 5 to 8% of a step on a CPU; reading weights of 130 MB for 16
tokens takes a fifth less. torch reads the variable when it first allocates, so it is set here, before any layer is made.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
