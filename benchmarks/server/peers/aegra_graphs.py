"""Graphs for Aegra, an open server for LangGraph: one whose only node answers at once, and one that takes steps."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from steps import STEPS, step


class State(TypedDict):
    """What a graph is about."""

    said: str


async def answer(state: State) -> State:
    """Answer at once."""
    return {"said": state["said"]}


echo = StateGraph(State)
echo.add_node("answer", answer)
echo.add_edge(START, "answer")
echo.add_edge("answer", END)

stepping = StateGraph(State)
for number in range(STEPS):

    async def take(state: State, number: int = number) -> State:
        """Take one step."""
        await step(state["said"], number)
        return state

    stepping.add_node(f"step-{number}", take)
    stepping.add_edge(f"step-{number - 1}" if number else START, f"step-{number}")
stepping.add_edge(f"step-{STEPS - 1}", END)

echo_graph, stepping_graph = echo.compile(), stepping.compile()
