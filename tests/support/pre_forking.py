"""A process that asks a model with blocking calls and then forks, as servers that fork their workers do.

Usage: `python -m support.pre_forking URL`. It prints one line for each place from which an answer came.
"""

import multiprocessing
import os
import sys

from llm_client import Agent, ExecutionEngine, OpenAIProvider, ScriptedProvider, tool
from llm_client.messages import ToolCall

HERE: list[Agent] = []
"""The agent of this process, for those that inherit it."""


def ask(agent: Agent, where: str) -> None:
    """Ask and print from where."""
    print(where, agent.run_sync("hi").status, flush=True)


def ask_here(where: str) -> None:
    """Ask the agent of this process."""
    ask(HERE[0], where)


def forked(agent: Agent, where: str) -> None:
    """Ask in a child of this process."""
    child = os.fork()
    if child == 0:
        try:
            ask(agent, where)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def main(url: str) -> None:
    """Ask before forks, in children, in a child's child, in a pool, below a tool, and after all that."""
    agent = Agent(engine=ExecutionEngine(OpenAIProvider("m", base_url=url, key_required=False)))
    HERE.append(agent)
    ask(agent, "parent")
    forked(agent, "child")
    child = os.fork()
    if child == 0:
        ask(agent, "second child")
        forked(agent, "grandchild")
        os._exit(0)
    os.waitpid(child, 0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(ask_here, ("pool",))

    @tool
    def fork_here() -> str:
        """Fork in the thread of a tool."""
        forked(agent, "child of a tool")
        return "done"

    replies = [ToolCall("1", "fork_here", {}), "done"]
    ask(Agent(provider=ScriptedProvider(replies), tools=[fork_here]), "tool")
    ask(agent, "parent again")


if __name__ == "__main__":
    main(sys.argv[1])
