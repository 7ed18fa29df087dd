"""Certificates and keys in settings, given as the path of a file or as the text itself."""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

from icetap.errors import ConfigurationError

_PEM = "-----BEGIN "


def pem_file(value: str, *, setting: str) -> Path:
    r"""Return the file of a certificate or key.

    Text goes to a file of mode 0600 in the system's temporary folder, which is removed when the program ends.
    Such texts lose their line ends in many a configuration: `\n` stands for one as well.

    Args:
        value: A path, or PEM text.
        setting: The setting's name, for errors.

    Raises:
        ConfigurationError: When there is no such file.
    """
    if _PEM not in value:
        path = Path(value).expanduser()
        if not path.is_file():
            raise ConfigurationError(
                f"setting '{setting}': there is no such file, and it is no PEM text ('{_PEM}…') either"
            )
        return path.absolute()
    descriptor, name = tempfile.mkstemp(prefix="icetap-", suffix=".pem")  # of mode 0600
    atexit.register(_remove, name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value.replace("\\n", "\n").strip() + "\n")
    return Path(name)


def pem_text(value: str, *, setting: str) -> str:
    """Return the text of a certificate or key, given like those of `pem_file`.

    Raises:
        ConfigurationError: When there is no such file.
    """
    if _PEM in value:
        return value.replace("\\n", "\n").strip() + "\n"
    return pem_file(value, setting=setting).read_text(encoding="utf-8")


def _remove(name: str) -> None:
    Path(name).unlink(missing_ok=True)
