"""Training: the loop and what it needs.

Tensors of 2 MiB and more are kept on huge pages where the system has them: a training step makes and drops hundreds of
megabytes, and faulting those in 4 KiB at a time was measured at 5 to 8% of a step on a CPU. torch reads the variable when
it first allocates, so it is set here, before any of this package's modules imports torch.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
