"""Microsoft's ODBC driver from a Python wheel, also where the system lacks a library that it never uses.

The driver's `libodbcinst` names libltdl (of libtool) for loading plug-ins, which the driver does not do. Where the
system has no libltdl7, tests load a copy of `libodbcinst` that does without; the tap itself asks people to install it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import struct
from pathlib import Path

from icetap.testing.servers import NotAvailableError, cache_folder

_DYNAMIC, _LOAD = 2, 1
_NEEDED, _STRTAB, _SYMTAB, _DEBUG = 1, 5, 6, 21
_WEAK = 2


def make_loadable() -> None:
    """Make mssql-python's driver loadable, in this process and in those that it starts.

    Raises:
        NotAvailableError: When its wheel is not installed, or not for this system.
    """
    if _system_has("libltdl.so.7"):
        return
    source = _library_folder() / "libodbcinst.so.2"
    if not source.exists():
        raise NotAvailableError(
            "mssql-python has no libraries for this system, and libltdl7 is not installed"
        )
    folder = cache_folder("mssql-python-odbc")
    copy = folder / source.name
    partial = folder / f"{source.name}.{os.getpid()}"
    partial.write_bytes(without_libltdl(source.read_bytes()))
    partial.rename(copy)
    ctypes.CDLL(str(copy), ctypes.RTLD_GLOBAL)  # the driver takes what is loaded already
    paths = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path]
    if str(folder) not in paths:
        os.environ["LD_LIBRARY_PATH"] = ":".join([str(folder), *paths])


def _system_has(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _library_folder() -> Path:
    found = importlib.util.find_spec("mssql_python_odbc")
    if found is None or not found.submodule_search_locations:
        raise NotAvailableError("mssql-python is not installed")
    machine = "arm64" if os.uname().machine in {"aarch64", "arm64"} else "x86_64"
    return Path(found.submodule_search_locations[0]) / "libs" / "linux" / "debian_ubuntu" / machine / "lib"


def driver_library() -> Path:
    """Return the path of the driver itself, for ODBC's `Driver=`.

    Raises:
        NotAvailableError: When the wheel is not installed.
    """
    found = sorted(_library_folder().glob("libmsodbcsql-*.so*"))
    if not found:
        raise NotAvailableError("mssql-python has no driver for this system")
    return found[-1]


def without_libltdl(library: bytes) -> bytes:
    """Return an ELF library that does not name libltdl any more, whose functions of it are unknown (null)."""
    data = bytearray(library)
    segments = _segments(data)
    dynamic = next((offset, size) for kind, offset, _, size in segments if kind == _DYNAMIC)
    entries = [
        (at, *struct.unpack_from("<qQ", data, at)) for at in range(dynamic[0], dynamic[0] + dynamic[1], 16)
    ]
    tables = {tag: _offset(segments, value) for _, tag, value in entries if tag in {_STRTAB, _SYMTAB}}

    def text(offset: int) -> bytes:
        start = tables[_STRTAB] + offset
        return bytes(data[start : data.index(b"\0", start)])

    for at, tag, value in entries:
        if tag == _NEEDED and text(value).startswith(b"libltdl"):
            struct.pack_into("<q", data, at, _DEBUG)  # an entry that the loader ignores
    for at in range(tables[_SYMTAB], tables[_STRTAB], 24):
        name, info, _, section = struct.unpack_from("<IBBH", data, at)
        if section == 0 and text(name).startswith(b"lt_"):
            data[at + 4] = _WEAK << 4 | info & 15
    return bytes(data)


def _segments(data: bytearray) -> list[tuple[int, int, int, int]]:
    """Return kind, offset, address and size of each program header of a 64-bit library."""
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for number in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, start + number * size)
        found.append((kind, offset, address, length))
    return found


def _offset(segments: list[tuple[int, int, int, int]], address: int) -> int:
    return next(
        offset + address - start
        for kind, offset, start, size in segments
        if kind == _LOAD and start <= address < start + size
    )
