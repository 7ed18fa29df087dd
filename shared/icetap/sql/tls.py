"""Certificates and keys in settings, given as the path of a file or as the text itself."""

from __future__ import annotations

from pathlib import Path

from icetap.errors import ConfigurationError
from icetap.secrets.scratch import file_of

_PEM = "-----BEGIN "


def pem_file(value: str, *, setting: str) -> Path:
    r"""Return the file of a certificate or key.

    Text goes to a file in memory, of mode 0600, which ends with the program.
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
    return file_of(value.replace("\\n", "\n").strip() + "\n", name="pem")


def pem_text(value: str, *, setting: str) -> str:
    """Return the text of a certificate or key, given like those of `pem_file`.

    Raises:
        ConfigurationError: When there is no such file.
    """
    if _PEM in value:
        return value.replace("\\n", "\n").strip() + "\n"
    return pem_file(value, setting=setting).read_text(encoding="utf-8")
