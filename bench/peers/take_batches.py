"""Take what a tap writes, as fast as can be: lines are counted, the Arrow files of BATCH messages are deleted."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit


def main() -> None:
    """Read standard input to its end."""
    lines, rest = 0, b""
    while block := os.read(sys.stdin.fileno(), 2**20):
        *whole, rest = (rest + block).split(b"\n")
        lines += len(whole)
        for line in whole:
            if line.startswith(b'{"type":"BATCH"'):
                for url in json.loads(line)["manifest"]:
                    Path(unquote(urlsplit(url).path)).unlink()
    print(lines)


if __name__ == "__main__":
    main()
