"""Commands that begin in a process which has imported them already: a real process for each run, without the seconds of its start.

A server for each command waits with everything imported, forks when it is asked to, and tells how the fork ended. What
matters of a process is real: its number, its signals, its memory, its files, how it ends.
"""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, Self

from icetap import pipes

LATE_IMPORTS = {
    "tap-postgres": ("tap_postgres.log_based.change_log",),
    "tap-mysql": ("tap_mysql.log_based.binary_log",),
    "target-iceberg": ("pyiceberg.catalog.sql",),
}
"""What a command imports only when it runs."""
MOST_BYTES = 2**20
PLAIN_PIPE_BYTES = 2**16


class WarmProcess:
    """A command that was forked: `subprocess.Popen`, as far as a pipeline uses it."""

    def __init__(self, connection: socket.socket, stdin: Any, stdout: Any) -> None:
        self._connection = connection
        self._told = connection.makefile("rb")
        self.stdin, self.stdout = stdin, stdout
        self.pid = int(self._told.readline())
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()

    def _wait(self) -> None:
        code = int(self._told.readline())
        with self._lock:
            self.returncode = code
        self._connection.sendall(b"seen")
        self._told.close()
        self._connection.close()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int | None:
        self._waiter.join()
        return self.returncode

    def send_signal(self, signum: int) -> None:
        with self._lock:  # until its end was seen, nobody else has this number
            if self.returncode is None:
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmCommands:
    """Starts commands as `subprocess.Popen` does, which starts those of other environments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="icetap-warm-")  # names of sockets must be short
        self._servers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.communicate()
        self._folder.cleanup()

    def __call__(
        self,
        command: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: Any,
        cwd: Path,
        env: Mapping[str, str],
    ) -> WarmProcess | subprocess.Popen[bytes]:
        """Start a command; `stdin` is a pipe or nothing, `stdout` a pipe, `stderr` a file."""
        if Path(command[0]).parent != Path(sys.executable).parent:
            return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env)
        assert stdin in {subprocess.PIPE, subprocess.DEVNULL}
        assert stdout == subprocess.PIPE
        connection = self._connection(Path(command[0]).name)
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        request = json.dumps({"argv": list(command), "cwd": str(cwd), "env": dict(env)}).encode()
        socket.send_fds(connection, [request], [theirs_in, theirs_out, stderr.fileno()])
        os.close(theirs_in)
        os.close(theirs_out)
        started = WarmProcess(connection, os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb"))
        if stdin == subprocess.DEVNULL:
            started.stdin.close()
        return started

    def _connection(self, name: str) -> socket.socket:
        address = str(Path(self._folder.name, name))
        with self._lock:
            if name not in self._servers:
                command = [sys.executable, __file__, address, name, *LATE_IMPORTS.get(name, ())]
                server = self._servers[name] = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n", f"{name} could not be imported"
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
        return connection


# --- in the server --------------------------------------------------------------------------------------


def serve(address: str, name: str, *modules: str) -> None:
    """Fork for each connection a process that attends to the one run which is asked for there."""
    (entry,) = metadata.entry_points(group="console_scripts", name=name)
    command = entry.load().load()
    for module in modules:
        importlib.import_module(module)
    if name.startswith("tap-"):
        # In a wider one a small table is there as a whole before the tap is killed.
        pipes.PIPE_BYTES = PLAIN_PIPE_BYTES
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who attend end by themselves
    print("ready", flush=True)
    while listener in select.select([listener, sys.stdin], [], [])[0]:  # until there is nobody to ask
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            attend(connection, command)
        connection.close()


def attend(connection: socket.socket, command: Callable[[], Any]) -> NoReturn:
    """Fork the run, and tell its number and how it ended; the fork ends as the command does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        become(json.loads(request), descriptors)
        sys.exit(command())
    for number in descriptors:
        os.close(number)
    with suppress(OSError):
        connection.sendall(f"{pid}\n".encode())
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # keeps the number until the end was seen
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with suppress(OSError):
        connection.sendall(f"{code}\n".encode())
        connection.recv(100)
    os._exit(0)


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Be a process that was started with these arguments, files and variables."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]


if __name__ == "__main__":
    del sys.path[0]  # this folder, whose modules are no programs
    serve(*sys.argv[1:])
