"""What was paid for is printed wherever the output goes: to what cannot show it, to nobody, and from what begins with a mark."""

import json

import pytest

from support.cli import CommandLine

ANSWER = "日本 –"
SHOWN = r"\u65e5\u672c \u2013"
"""What Latin-1 cannot show of it is written out."""


@pytest.fixture
async def answered(cli: CommandLine) -> str:
    """Have a job submitted whose input no terminal of before 1993 can show."""
    return (await cli.run("jobs", "submit", "op", json.dumps(ANSWER))).out.strip()


async def test_an_output_that_cannot_show_a_character_gets_it_written_out(
    cli: CommandLine, answered: str
) -> None:
    cli.environment["PYTHONIOENCODING"] = "latin-1"
    shown = await cli.run("jobs", "show", answered)
    assert (shown.code, shown.err) == (0, "")
    assert f"input: {SHOWN}\n" in shown.out
    del cli.environment["PYTHONIOENCODING"]
    cli.environment |= {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert (await cli.run("jobs", "show", answered)).code == 0


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
async def test_a_closed_stream_is_nobody_who_reads(cli: CommandLine, answered: str, closed: str) -> None:
    for command in (("jobs", "list"), ("jobs", "show", answered)):
        ended = await cli.shell(f'"$@" {closed}', *command)
        assert (ended.code, ended.out, ended.err) == (0, "", "")


async def test_an_output_that_is_full_is_named(cli: CommandLine, answered: str) -> None:
    ended = await cli.shell('"$@" > /dev/full', "jobs", "show", answered)
    assert ended.code == 1
    assert ended.err == "agent-runtime: [Errno 28] No space left on device\n"
    head = await cli.shell('"$@" | head -n 1', "jobs", "show", answered)
    assert (head.code, head.out, head.err) == (0, f"job: {answered}\n", "")
