"""A process that owns one server for one test run: it starts it, and stops it when nobody uses it any more.

Called as `python -m support.server_guard KIND FOLDER`. Those who use the server hold a read lock on `FOLDER/users`; the kernel gives a
lock back when its process ends, however it ends. The guard waits for the write lock, which it gets when the last user
is gone. So a server outlives neither a finished run nor a killed one, and if the guard itself is killed, the server
gets the signal that it asked for on its parent's death.
"""

import ctypes
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from support.server_programs import ServerUnavailableError, postgres_programs, redis_program

START_SECONDS = 60
STOP_SECONDS = 20
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a server can be reached."""

    kind: str
    host: str
    port: int
    password: str
    programs: str
    """Folder of its client programs."""
    socket_folder: str
    pid: int
    data: str


class ServerFailedError(RuntimeError):
    """A server did not come up; the message ends with its log."""


def main(kind: str, folder: Path) -> None:
    """Own a server until its last user is gone, and leave nothing behind. Returns at once; a child process goes on."""
    if os.fork():
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    data = Path(tempfile.mkdtemp(prefix=f"agent-runtime-{kind}-"))
    state = folder / "state.json"
    try:
        with postgres_server(data, synced=False) if kind == "postgres" else _redis(data) as server:
            _write(state, {"server": asdict(server)})
            with (folder / "users").open("r+") as users:
                fcntl.lockf(users, fcntl.LOCK_EX)  # returns when nobody holds a read lock any more
                state.unlink()
    except (ServerUnavailableError, ServerFailedError, OSError, subprocess.SubprocessError) as failure:
        _write(state, {"error": str(failure)})
        raise SystemExit(1) from failure
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _write(state: Path, content: dict[str, object]) -> None:
    temporary = state.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.chmod(0o600)
    temporary.replace(state)


@contextmanager
def postgres_server(folder: Path, *, synced: bool = True) -> Iterator[Server]:
    """Run a Postgres server on new data below a folder.

    Args:
        folder: Where its data lie.
        synced: Whether it waits for disks. One that does not loses something only when the whole machine fails, and makes and drops the databases
            of tests in half of the time.
    """
    programs = postgres_programs(folder / "wheel")
    owner = unprivileged_user()
    password = secrets.token_urlsafe(18)
    password_file, data = folder / "password", folder / "data"
    password_file.write_text(password)
    folder.chmod(0o711)
    data.mkdir(mode=0o700)
    if owner:
        for path in (data, password_file):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    initialise = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]
    initialise += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
    done = subprocess.run(initialise, cwd="/", capture_output=True, text=True, check=False, **identity)
    if done.returncode:
        raise ServerFailedError(f"initdb failed: {done.stderr[-2000:]}")
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": data,
        "max_connections": 200,
        "fsync": "on" if synced else "off",
    }
    command = [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())]

    def ready() -> bool:
        status = data / "postmaster.pid"
        return status.exists() and status.read_text().rstrip().endswith("ready")

    with _running(
        command, folder / "log", signal.SIGINT, ready, identity
    ) as process:  # SIGINT: fast shutdown
        yield Server(
            kind="postgres", host="127.0.0.1", port=port, password=password, programs=str(programs),
            socket_folder=str(data), pid=process.pid, data=str(folder),
        )  # fmt: skip


@contextmanager
def _redis(folder: Path) -> Iterator[Server]:
    program = redis_program(folder / "wheel")
    port, password = free_port(), secrets.token_urlsafe(18)
    configuration = folder / "redis.conf"  # not the command line, which everybody can read
    configuration.touch(0o600)
    configuration.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nsave ""\nappendonly no\ndatabases 64\n'
    )

    def ready() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    with _running([program, configuration], folder / "log", signal.SIGTERM, ready, {}) as process:
        yield Server(
            kind="redis", host="127.0.0.1", port=port, password=password, programs=str(program.parent),
            socket_folder="", pid=process.pid, data=str(folder),
        )  # fmt: skip


@contextmanager
def _running(
    command: list[object],
    log: Path,
    stop: signal.Signals,
    ready: Callable[[], bool],
    identity: dict[str, object],
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # type: ignore[call-overload]  # user and group come as a mapping
            [str(part) for part in command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop),  # noqa: PLW1509 - has no threads
            **identity,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailedError(
                    f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return whom Postgres runs as when we are root, which it refuses to run as."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerFailedError("Postgres does not run as root; create a user named postgres or nobody")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
