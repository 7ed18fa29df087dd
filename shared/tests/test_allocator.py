"""How programs take memory: what one of their threads gives back serves the others, or goes back to the system."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import threading
from icetap.allocator import keep_memory_flat, peak_memory_bytes
keep_memory_flat()
import pyarrow as pa

kept = []

def write_file():
    blocks = [pa.repeat(1, 131_072) for _ in range(40)]
    kept.append(pa.repeat(1, 32))  # as a file's metadata stays

def stay(started, ended):
    kept.append(pa.repeat(1, 32))
    started.set()
    ended.wait()

def run(target, *arguments):
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    return thread

started, ended = threading.Event(), threading.Event()
other = run(stay, started, ended)
started.wait()
run(write_file).join()
one = peak_memory_bytes()
for _ in range(7):
    run(write_file).join()
print((peak_memory_bytes() - one) // 1024)
ended.set()
"""

HOLES = """
import pathlib, re
from icetap.allocator import GIVEN_BACK_AFTER_BYTES, HEAP, keep_memory_flat
keep_memory_flat()
import pyarrow as pa

def held():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1))

blocks = [pa.repeat(1, 8_192) for _ in range(2_000)]
blocks[:] = blocks[99::100]
before = held()
HEAP.passed(GIVEN_BACK_AFTER_BYTES)
print(before - held())
"""


def printed_by(program):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the heap that is set up is glibc's")
def test_threads_that_come_and_go_use_the_same_memory():
    assert printed_by(PROGRAM) < 20_000, "each of eight threads held 40 MB, one after the other"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries are not asked")
def test_what_lies_free_between_blocks_in_use_goes_back_to_the_system():
    assert printed_by(HOLES) > 100_000, "of 125 MB, of which 99 in 100 were free"
