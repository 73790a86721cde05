"""A stranger's first hour: the wheel in a fresh environment, and the page "Your first application" word for word.

The files and the commands are the page's own. What a reader fills in is filled in here as they would: the id of a question
and of a job, and the address of their own Postgres server. A reader also looks again until something has happened.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.environments import ROOT, SECONDS, Distribution, Environment

pytestmark = [pytest.mark.xdist_group("packaging"), pytest.mark.timeout(300)]

PAGE = ROOT / "docs" / "first-application.md"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOOKS = '''\
"""Looks again until it is so: prints the question that waits, or the job with the key mail-1 that has ended.

SETTLED: a question waits, and nothing else goes on.
"""
import json, subprocess, sys, time


def listed(*command):
    done = subprocess.run(["agent-runtime", *command, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def found(what):
    if what == "JOB":
        jobs = listed("jobs", "list", "--operator", "answer_mail")
        return [job["job_id"] for job in jobs if job["idempotency_key"] == "mail-1" and job["status"] == "succeeded"]
    questions = [action["action_id"] for action in listed("actions", "list")]
    if what == "SETTLED" and any(job["status"] in ("queued", "running") for job in listed("jobs", "list")):
        return []
    return questions


until = time.monotonic() + 60
while time.monotonic() < until:
    if ids := found(sys.argv[1]):
        print(ids[0])
        sys.exit()
    time.sleep(0.2)
sys.exit(f"no {sys.argv[1]} after a minute")
'''


def script(*, wheel: str, database: str, looks: Path) -> Iterator[str]:
    """Give the page as one shell script: its files are written where they stand, its commands are run."""
    for language, info, body in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if name := re.search(r'title="([\w.-]+)"', info):
            text = body.replace("postgresql://postgres@localhost/desk", database)
            yield f"printf %s {shlex.quote(text)} > {name[1]}\n"
        elif language == "bash" and "no-run" not in info:
            commands = body.replace("durable-agent-runtime[postgres]", f"{wheel}[postgres]")
            for word in ("ACTION", "JOB"):
                commands = re.sub(rf"\b{word}\b", f'"$(python {shlex.quote(str(looks))} {word})"', commands)
            yield commands.replace("kill -9", f"python {shlex.quote(str(looks))} SETTLED\nkill -9")


def test_the_page_is_played_word_for_word(
    distribution: Distribution, postgres_dsn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    (tmp_path / "looks.py").write_text(LOOKS)
    played = "".join(
        script(wheel=str(distribution.wheel), database=postgres_dsn, looks=tmp_path / "looks.py")
    )
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "PIP_NO_COMPILE": "1"}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{played}"],
        cwd=folder,
        env=Environment(Path(sys.prefix)).variables | home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    shown = done.stdout
    assert "1 passed" in shown
    assert (folder / "refunds.txt").read_text().splitlines() == ["4712 480", *["4711 30"] * 6, "4712 480"]
    sent = (folder / "sent.txt").read_text().splitlines()
    assert sent.count("To mia@example.com: Order 4711: 30 dollars are on their way.") == 6
    assert sent.count("To tom@example.com: Order 4712: 480 dollars are on their way.") == 1
    first, again = re.findall(r"^(job-\w+)$", shown, re.MULTILINE)[:2]
    assert first == again, "the same key is the same job"
    assert re.search(r"^acme +\d+ .*\$0\.\d+", shown, re.MULTILINE), "what the scope has cost"
    for log in folder.glob("worker*.log"):
        assert "Traceback" not in log.read_text()
