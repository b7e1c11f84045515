"""Memory that was freed stays with the process for a while: the core asks for columns of some MB all the time."""

import ctypes
from typing import Final

_MB: Final = 2**20
_OPTIONS: Final = {  # of glibc's mallopt (malloc.h): number -> bytes
    -1: 512 * _MB,  # M_TRIM_THRESHOLD: so much may lie free before it is given back
    -2: 64 * _MB,  # M_TOP_PAD: asked for at once
    -3: 32 * _MB,  # M_MMAP_THRESHOLD: only larger arrays are mapped by themselves
}


def keep_freed_memory() -> bool:
    """Tell the C library, where it is glibc, to keep what arrays freed for the next ones; whether it does.

    NumPy takes each array from the C library. By its defaults glibc maps a column of some MB anew and gives it back when it is freed,
    so that the kernel clears each page every time (decision 0025).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, size) == 1 for option, size in _OPTIONS.items())
