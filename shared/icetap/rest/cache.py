"""Answers kept for a while, so that looking again at a preview asks nobody."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icetap.rest.answers import Answer
    from icetap.rest.request import Request

_KEPT_HEADERS = ("Content-Type", "Link", "Date")


class AnswerCache:
    """Good answers by request, in a folder that only this user may read.

    Args:
        seconds: How long an answer is good for.
        scope: Whose answers: the base URL and the settings, so that two accounts never meet. Only its hash is kept.
        folder: Where; a folder of the user's own in the system's temporary folder when left out.
    """

    def __init__(self, seconds: float, *, scope: str, folder: Path | None = None) -> None:
        self._seconds = seconds
        self._scope = scope
        self.folder = folder or Path(tempfile.gettempdir()) / f"icetap-preview-{os.getuid()}"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._forget_the_old()
        self.hits = 0

    def _forget_the_old(self) -> None:
        """Remove answers that are no longer good, whoever asked for them, and what a killed process had half written."""
        oldest = time.time() - self._seconds
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another preview was first
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def get(self, request: Request) -> dict[str, Any] | None:
        """Return what `Answer` is made of, when it was asked for lately."""
        path = self._path(request)
        try:
            if time.time() - path.stat().st_mtime > self._seconds:
                path.unlink()
                return None
            kept = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        self.hits += 1
        return {**kept, "content": base64.b64decode(kept["content"])}

    def put(self, request: Request, answer: Answer) -> None:
        """Keep a good answer."""
        kept = {
            "status": answer.status,
            "headers": {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers},
            "url": answer.url.partition("?")[0],
            "content": base64.b64encode(answer.content).decode(),
        }
        path = self._path(request)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(kept), "utf-8")
        partial.rename(path)

    def _path(self, request: Request) -> Path:
        text = json.dumps([self._scope, *request.asked()], sort_keys=True, default=str)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
