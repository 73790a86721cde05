"""Runs many commands as real processes that are imported once: `python -m support.forked_commands CASES`.

Each line of standard input is a case as JSON: `arguments`, `environment`, `folder`, whether standard input is `closed`, and after how many
bytes its output is closed (`read`; without it all is read). Each line of standard output is how one ended.
"""

import gc
import importlib
import json
import os
import pkgutil
import sys
import tempfile
from typing import Any, NoReturn

import alembic.command
import yaml

import agent_runtime.cli.commands
import agent_runtime.demo.audit
import agent_runtime.observability.sql
import agent_runtime.storage.examination
import agent_runtime.storage.sqlite
import llm_client.redaction
from agent_runtime import app, settings
from agent_runtime.cli import entry
from agent_runtime.cli.backends import database, server

LOADED = (app, settings, agent_runtime.storage.sqlite, database, server, alembic.command, yaml)
"""What commands import: once, here."""
for package in (
    agent_runtime.cli.commands,
    agent_runtime.observability,
    agent_runtime.observability.sql,
    llm_client.redaction,
):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
gc.collect()
gc.freeze()  # or each child's first collection copies the pages of all that is loaded


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(ended(json.loads(line))), flush=True)


def ended(case: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = os.pipe()
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            child(case, theirs, said.fileno())
        os.close(theirs)
        out = b""
        while case.get("read") is None or len(out) < case["read"]:
            chunk = os.read(ours, 65536 if case.get("read") is None else 1)
            if not chunk:
                break
            out += chunk
        os.close(ours)
        _, status = os.waitpid(pid, 0)
        said.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "out": out.decode("latin-1"),
            "err": said.read().decode("utf-8", "replace"),
        }


def child(case: dict[str, Any], out: int, err: int) -> NoReturn:
    """Be the command: what it raises, and what Python says at its end, is seen as in any process."""
    os.chdir(case["folder"])
    os.environ.update(case["environment"])
    sys.argv = ["agent-runtime", *case["arguments"]]
    os.dup2(out, 1)
    os.dup2(err, 2)
    encoding = case["environment"].get("PYTHONIOENCODING", "utf-8")
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115 -- as a process has it
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.close(0)
    if case["closed"]:
        sys.stdin = None  # type: ignore[assignment]  # as Python does where there is none
    else:
        os.open(os.devnull, os.O_RDONLY)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.exit(entry.main(case["arguments"]))


if __name__ == "__main__":
    main()
