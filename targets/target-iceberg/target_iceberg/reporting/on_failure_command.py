"""The setting `on_failure_command`: a program that is told when a run has failed.

It runs without a shell, gets the run report as JSON on its standard input, and little of the loader's
environment, which may hold the credentials of every connector. What becomes of it changes nothing.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.secrets.redaction import REDACTOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOGGER = logging.getLogger("target-iceberg")

SECONDS = 30.0
"""How long the command may take; it is killed then, with what it started."""
PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "MELTANO_ENVIRONMENT",
    "MELTANO_PROJECT_ROOT",
    "PATH",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
)
"""What the command sees of the loader's environment."""
_MAX_VARIABLE = 2_000
_SHOWN_OUTPUT = 2_000


def arguments(setting: str | Sequence[str]) -> list[str]:
    """Return the command as a list of arguments; a text is split as a shell would, and nothing else.

    Raises:
        ConfigurationError: When there is no program in it, or a quotation mark is never closed.
    """
    try:
        # The SDK (0.54.9) makes a list of a text that comes from an environment variable: it is one text again.
        is_one_text = not isinstance(setting, str) and len(setting) == 1 and shutil.which(setting[0]) is None
        given = setting[0] if is_one_text else setting
        found = shlex.split(given) if isinstance(given, str) else list(given)
    except ValueError as error:
        raise ConfigurationError(
            f"setting 'on_failure_command' cannot be split into arguments: {error}"
        ) from None
    if not found or not found[0] or not all(isinstance(one, str) and "\0" not in one for one in found):
        raise ConfigurationError(
            "setting 'on_failure_command' names no program: expected a list of arguments, or a text like 'notify --urgent'"
        )
    return found


def check(setting: str | Sequence[str]) -> None:
    """Refuse a command that could not be run when it is needed.

    Raises:
        ConfigurationError: When it cannot be split into arguments, or its program is not there.
    """
    program = arguments(setting)[0]
    if shutil.which(program) is None:
        raise ConfigurationError(
            f"setting 'on_failure_command' names the program '{program}', which cannot be found or run. Give its whole path; "
            'in an environment variable, the arguments as JSON: ["program", "argument"]'
        )


def run(
    setting: str | Sequence[str], report: Mapping[str, Any], *, exit_code: int, seconds: float = SECONDS
) -> None:
    """Run the command and log how it went; raises nothing but what ends this process.

    Args:
        setting: The setting's value.
        report: The run report, without secrets.
        exit_code: That of the run.
        seconds: How long the command may take.
    """
    try:
        command = arguments(setting)
        with tempfile.TemporaryFile() as output:
            _run(command, report, exit_code=exit_code, seconds=seconds, output=output)
    except (OSError, ValueError, ConfigurationError) as error:
        LOGGER.warning("on_failure_command could not be run (%s)", getattr(error, "strerror", None) or error)


def _run(
    command: list[str], report: Mapping[str, Any], *, exit_code: int, seconds: float, output: IO[bytes]
) -> None:
    process = subprocess.Popen(  # noqa: S603 - the owner of the configuration chose the command
        command,
        stdin=subprocess.PIPE,
        stdout=output,  # never the loader's own: that carries STATE
        stderr=subprocess.STDOUT,
        env=_environment(report, exit_code),
        start_new_session=True,
    )
    try:
        process.communicate(json.dumps(report).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        LOGGER.warning("on_failure_command took longer than %.0f s and was killed", seconds)
    else:
        if process.returncode:
            LOGGER.warning(
                "on_failure_command ended with exit code %d: %s", process.returncode, _tail(output)
            )
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(report: Mapping[str, Any], exit_code: int) -> dict[str, str]:
    told = {
        "ICETAP_RUN_ID": report["run_id"],
        "ICETAP_PIPELINE": report["pipeline"],
        "ICETAP_OUTCOME": report["outcome"],
        "ICETAP_EXIT_CODE": str(exit_code),
        "ICETAP_ERROR": report["error"] or "",
    }
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return own | {name: text.replace("\0", " ")[:_MAX_VARIABLE] for name, text in told.items()}


def _tail(output: IO[bytes]) -> str:
    end = output.seek(0, os.SEEK_END)
    output.seek(max(0, end - _SHOWN_OUTPUT))
    text = output.read().decode(errors="replace").strip()
    return REDACTOR.redact(text) or "it wrote nothing"
