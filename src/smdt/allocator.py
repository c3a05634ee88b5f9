"""Let the C library keep the memory of large tensors when they are freed.

glibc gives every block above a threshold (32 MB at most by itself) back to the system at once. A convolutional network
on a CPU frees and asks for such blocks in every layer, and each time the system clears them page by page: on an
AVX2 processor that was half of a forward pass's processor time (``benchmarks/allocator.py``).
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
_LARGEST = 2**31 - 1  # the thresholds are C ints


def keep_freed_memory() -> bool:
    """Have this process, and those it forks, reuse freed memory of any size instead of returning it.

    Memory in use at a time stays what it was; what the process holds stays at its peak.

    Returns:
        Whether the C library takes such a setting: glibc does; elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, _LARGEST) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
