"""The newcomer's first command: an agent does a real job, asks, reports, shows its costs, and survives being killed."""

import json
import re
from collections import Counter
from decimal import Decimal
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from support.cli import CommandLine, Ended

TERMINAL = {"job.succeeded", "job.failed", "job.cancelled", "job.timed_out"}

pytestmark = pytest.mark.xdist_group("demo")


def packages_in(report: Path) -> Counter[str]:
    """Return how often each package stands in a report."""
    rows = [line.split(" | ") for line in report.read_text().splitlines() if line.startswith("| ")]
    return Counter(name for row in rows if row[0] != "| licence" for name in row[2].split(", "))


def installed() -> set[str]:
    return {re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower() for found in distributions()}


def outcomes(events: list[dict[str, Any]]) -> Counter[str]:
    """Return how many outcomes each operation has."""
    ends = ("model.completed", "model.failed", "tool.completed", "tool.failed")
    return Counter(event["operation_id"] for event in events if event["type"] in ends)


async def test_the_demo_audits_every_installed_package_and_shows_what_each_step_cost(
    cli: CommandLine,
) -> None:
    ended = await cli.run("demo")

    assert ended.code == 0, ended.err
    assert "no terminal: in 3 s this is answered with yes by itself" in ended.out
    report = Path(ended.value("report"))
    assert report.parent == cli.folder / "demo-out"
    counted = packages_in(report)
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in counted} == installed()
    assert set(counted.values()) == {1}
    await check_costs(cli, ended)


async def check_costs(cli: CommandLine, ended: Ended) -> None:
    """Check that what the demo shows is what the ledger holds."""
    job = ended.value("job")
    ((total),) = re.findall(r"^ +total +[\d,]+ +\$([\d.]+)$", ended.out, re.MULTILINE)
    (entry,) = (await cli.run("costs", "--job", job, "--json")).json
    assert Decimal(entry["cost"]).quantize(Decimal(total)) == Decimal(total) > 0
    assert entry["uncertain_requests"] == entry["unpriced_requests"] == 0


async def test_the_demo_survives_two_kills_and_proves_it_from_the_journal(cli: CommandLine) -> None:
    for name in ("orjson.py", "click.py", "agent_runtime.py"):  # nothing that happens to lie here is run
        (cli.folder / name).write_text(f"open({str(cli.folder / 'ran')!r}, 'w')")
    ended = await cli.run("demo", "--crash", "--answer-after", "0.2")

    assert ended.code == 0, ended.out + ended.err
    assert not (cli.folder / "ran").exists()
    assert len(re.findall(r"KILL -9 +pid \d+", ended.out)) == 2
    assert "NOT" not in ended.out
    assert Path(ended.value("report")).exists()
    events = await cli.events(ended.value("job"))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"] in TERMINAL] == ["job.succeeded"]
    assert set(outcomes(events).values()) == {1}
    types = Counter(event["type"] for event in events)
    assert types["action.required"] == types["action.resolved"] == 1
    (bill,) = (await cli.run("costs", "--job", ended.value("job"), "--json")).json
    assert bill["requests"] == types["model.started"]
    assert bill["uncertain_requests"] == types["model.attempt_failed"] >= 1


async def test_another_terminal_answers_the_demos_question_package_by_package(cli: CommandLine) -> None:
    demo = await cli.start("demo", "--answer-after", "60")
    await demo.prints("from any other terminal")
    (asked,) = (await cli.run("actions", "list", "--json")).json
    doubtful = list(asked["payload"]["packages"])
    answer = json.dumps({"approved": True, "decisions": {doubtful[0]: "reject"}})

    resolved = await cli.run("actions", "resolve", asked["action_id"], "--json", answer, "--by", "ann")
    ended = await demo.end()

    assert (resolved.code, ended.code) == (0, 0), resolved.err + ended.err
    rows = [line for line in Path(ended.value("report")).read_text().splitlines() if "decided by ann" in line]
    assert [doubtful[0] in row for row in rows if "| rejected |" in row] == [True]
    assert (await cli.run("actions", "list")).out == "nobody waits for an answer\n"
    again = await cli.run("actions", "resolve", asked["action_id"], "--approve")
    assert (again.code, "is resolved" in again.err) == (2, True)


async def test_at_a_terminal_the_demo_asks_the_person_who_sits_there(cli: CommandLine) -> None:
    demo = await cli.at_terminal("demo")
    await demo.shows("[y]es to all, [n]o to all, or [e]ach by itself?")

    demo.type("maybe")
    await demo.shows("answer y or n")
    demo.type("n")

    assert await demo.end() == 0, demo.screen
    (path,) = re.findall(r"^report: (.+)$", demo.screen, re.MULTILINE)
    text = Path(path).read_text()
    assert "| rejected |" in text
    assert "| accepted |" not in text


async def test_the_person_may_decide_package_by_package(cli: CommandLine) -> None:
    demo = await cli.at_terminal("demo")
    await demo.shows("or [e]ach by itself?")
    (asked,) = (await cli.run("actions", "list", "--json")).json
    first, *others = asked["payload"]["packages"]

    demo.type("e")
    for name in (first, *others):
        await demo.shows(f"  {name}: {asked['payload']['packages'][name]} – [y]es or [n]o?")
        demo.type("n" if name == first else "y")

    assert await demo.end() == 0, demo.screen
    assert f"Accepted: {len(others)}." in demo.screen
    assert "Rejected: 1." in demo.screen


async def test_ctrl_c_stops_the_demo_and_says_how_to_go_on(cli: CommandLine) -> None:
    demo = await cli.start("demo", "--answer-after", "60")
    await demo.prints("actions resolve")

    demo.interrupt()
    ended = await demo.end()

    assert (ended.code, ended.err.strip()) == (130, "")
    (job,) = (await cli.run("jobs", "list", "--json")).json
    assert f"jobs resume {job['job_id']}" in ended.out
    assert job["standing"] in ("waiting_action", "interrupted")


async def test_a_demo_that_is_killed_can_be_resumed_by_hand(cli: CommandLine) -> None:
    demo = await cli.start("demo", "--answer-after", "60")
    job = (await demo.prints("job: ")).removeprefix("job: ")
    line = await demo.prints("actions resolve")
    await demo.kill()

    action = line.split("actions resolve ")[1].split()[0]
    resolved = await cli.run("actions", "resolve", action, "--deny")
    assert f"jobs resume {job}" in resolved.out
    resumed = await cli.run("jobs", "resume", job)

    assert resumed.code == 0, resumed.err
    assert "Rejected: " in resumed.out
    assert set(outcomes(await cli.events(job)).values()) == {1}


async def test_a_second_demo_is_a_new_job(cli: CommandLine) -> None:
    first = await cli.run("demo", "--answer-after", "0")
    second = await cli.run("demo", "--answer-after", "0")

    assert (first.code, second.code) == (0, 0)
    assert first.value("job") != second.value("job")
    assert Path(first.value("report")).exists()
    listed = (await cli.run("jobs", "list", "--json")).json
    assert [job["job_id"] for job in listed] == [second.value("job"), first.value("job")]
