import os
import subprocess
import sys

import pytest

from smdt.allocator import keep_freed_memory

_FAULTS = """
import ctypes
import resource
from smdt.allocator import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
size = 64 * 2**20
def use():
    block = library.malloc(size)
    ctypes.memset(block, 1, size)
    library.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, kept: bool) -> int:
    program = [sys.executable, "-c", _FAULTS.format(kept=kept)]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(program, env=own, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library has no mallopt")
def test_a_block_of_memory_reuses_that_of_the_block_before() -> None:
    # The first block's pages are filled; the eight blocks after it find them filled.
    assert faults(kept=True) < faults(kept=False) / 8
