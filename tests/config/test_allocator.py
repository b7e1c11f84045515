"""Freed memory stays with the process where the C library is glibc."""

import platform
import subprocess
import sys


def test_the_c_library_takes_every_option_where_it_is_glibc() -> None:
    asked = "from config.allocator import keep_freed_memory; print(keep_freed_memory())"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    assert said == str(platform.libc_ver()[0] == "glibc")
