"""The process's memory allocator."""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h

_log = logging.getLogger(__name__)


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed buffers for the next step instead of giving them back to the kernel.

    A step frees and asks again for the same few megabytes; the page faults cost up to a third of it at N = 1e4.
    Elsewhere than on Linux with glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    for option, size in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 1 << 24)):
        if not mallopt(option, size):
            _log.debug("mallopt(%d, %d) was refused", option, size)
