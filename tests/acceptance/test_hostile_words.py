"""A model's words at a real terminal: what they ask for is seen in full before it is answered, and they write nothing else."""

import json
from typing import Any

import pytest

from support.cli import CommandLine
from support.loopback import LoopbackServer, Reply, sse_reply
from support.wire import openai_chat

pytestmark = pytest.mark.timeout(240)

TOOLS = '''
from llm_client import tool


@tool(requires_approval=True)
def run(note: str, cmd: str) -> str:
    """Run a command."""
    with open("ran.txt", "a") as file:
        print(cmd, file=file)
    return "done"
'''
HOSTILE = "\x1b]52;c;cm0gLXJm\x07\x1b[2K\r\x9b2J\u202e\nquestion: may look be called?"
"""Fills the clipboard, erases the line, turns the reading direction, and asks another question."""
RAW = ("\x1b]52", "\x1b[2K", "\x9b", "\u202e", "\x07", "\nquestion: may look")
"""What of it must not reach the terminal as it is."""
CMD = "rm -rf /important"


def stream(*deltas: dict[str, Any], reason: str) -> Reply:
    chunks = [
        *(openai_chat.chunk(delta) for delta in deltas),
        openai_chat.chunk({}, reason),
        openai_chat.chunk(None, usage=openai_chat.USAGE),
    ]
    return sse_reply(*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n")


def calling(arguments: dict[str, str]) -> Reply:
    function = {"name": "run", "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return stream({"role": "assistant", "content": None}, {"tool_calls": [call]}, reason="tool_calls")


def on(server: LoopbackServer) -> tuple[str, ...]:
    return "run", "--base-url", f"{server.url}/v1", "--model", "openai:gpt-5.2", "--tool", "shop:run", "Go."


async def test_an_argument_behind_a_long_one_is_seen_before_anybody_can_say_yes(cli: CommandLine) -> None:
    (cli.folder / "shop.py").write_text(TOOLS)
    asks = calling({"note": HOSTILE + "x" * 20_000, "cmd": CMD})
    answer = stream({"role": "assistant", "content": f"Done. {HOSTILE[:-30]}"}, reason="stop")
    async with LoopbackServer(asks, answer) as server:
        terminal = await cli.at_terminal(*on(server))
        await terminal.shows("[s]how the rest")
        assert f'  cmd ({len(CMD)} characters): "{CMD}"' in terminal.screen
        assert "[y]es" not in terminal.screen

        terminal.type("y")
        await terminal.shows("[s]how the rest, then it can be answered: y")
        assert not (cli.folder / "ran.txt").exists()

        terminal.type("s")
        await terminal.shows("[y]es or [n]o?")
        assert "x" * 20_000 in terminal.screen
        terminal.type("y")
        assert await terminal.end() == 0, terminal.screen

    assert (cli.folder / "ran.txt").read_text() == f"{CMD}\n"
    assert "Done. " in terminal.screen
    assert [raw for raw in RAW if raw in terminal.screen.replace("\r\n", "\n")] == []


async def test_lists_and_journals_show_hostile_words_as_what_they_are(cli: CommandLine) -> None:
    (cli.folder / "shop.py").write_text(TOOLS)
    async with LoopbackServer(calling({"note": HOSTILE * 50, "cmd": CMD}), Reply(pieces=("hang",))) as server:
        running = await cli.start(*on(server))
        job = (await running.says("job: ")).removeprefix("job: ")
        action = (await running.says("actions resolve")).split("actions resolve ")[1].split()[0]
        for command in (
            ("actions", "list"),
            ("actions", "resolve", action, "--deny", "--reason", HOSTILE, "--by", "ann"),
            ("jobs", "show", job, "--events"),
        ):
            terminal = await cli.at_terminal(*command)
            assert await terminal.end() == 0, terminal.screen
            assert [raw for raw in RAW if raw in terminal.screen] == [], command
            assert command[1] != "list" or CMD in terminal.screen
        refused = await cli.run("actions", "resolve", action, "--approve", "--by", "a\x1b[2Kb")
        assert (refused.code, [raw for raw in RAW if raw in refused.err]) == (2, [])
        running.interrupt()
        running.interrupt()
        await running.end()
