"""A program's start: nothing is imported before it, and no garbage is looked for meanwhile."""

import gc
import os
import subprocess
import sys

import pytest

from icetap.program import Program

CHOICES = ("OPENBLAS_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL")
COMMAND = """
import gc
import os
during = gc.isenabled(), os.environ["OPENBLAS_NUM_THREADS"], os.environ["ARROW_DEFAULT_MEMORY_POOL"]

def run():
    print(*during, gc.isenabled(), gc.get_freeze_count() > 1000)
"""
START = """
import sys
from icetap.program import Program

main = Program("command:run")
assert "command" not in sys.modules
main()
"""


def test_no_garbage_is_looked_for_while_a_program_is_imported(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)

    environ = {name: value for name, value in os.environ.items() if name not in CHOICES}
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "1", "system", "True", "True"]


def test_a_program_that_cannot_be_imported_leaves_the_search_on():
    with pytest.raises(ModuleNotFoundError):
        Program("no_such_package.tap:Tap.cli").load()

    assert gc.isenabled()
    gc.unfreeze()


def test_the_library_imports_nothing_before_a_program_does():
    code = "import sys; from icetap.program import Program; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert {name for name in done.stdout.split() if name.startswith("icetap")} == {"icetap", "icetap.program"}
    assert not {"singer_sdk", "pyarrow", "numpy", "click", "logging"} & set(done.stdout.split())
