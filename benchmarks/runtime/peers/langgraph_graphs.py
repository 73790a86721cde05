"""The graphs that LangGraph runs, whatever its saver writes to."""

from typing import Annotated, Any, TypedDict

import workload
from workload import expect

executed = 0


class StepState(TypedDict):
    number: int
    total: int
    last: dict[str, Any]


def config(job: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": f"job-{job}"}, "recursion_limit": 1_000}


def step(state: StepState) -> dict[str, Any]:
    global executed  # noqa: PLW0603 - counting the work is all this module does
    executed += 1
    return {"number": state["number"] + 1, "last": workload.step_result(state["number"])}


async def async_step(state: StepState) -> dict[str, Any]:
    return step(state)


def steps_graph(step: Any) -> Any:
    from langgraph.graph import END, START, StateGraph

    builder = StateGraph(StepState)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: END if state["number"] >= state["total"] else "step")
    return builder


def agent_graph(asynchronous: bool) -> Any:
    """A model and a tool taking turns; the model follows a script, the tool answers a constant."""
    from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages

    class AgentState(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    def model(state: AgentState) -> dict[str, Any]:
        turn = sum(isinstance(message, AIMessage) for message in state["messages"]) + 1
        if turn == workload.AGENT_TURNS:
            return {"messages": [AIMessage(workload.FINAL_ANSWER)]}
        call = {"name": "look_up", "args": {"package": f"package-{turn}"}, "id": f"call-{turn}"}
        return {"messages": [AIMessage(workload.THOUGHT, tool_calls=[call])]}

    def tools(state: AgentState) -> dict[str, Any]:
        calls = state["messages"][-1].tool_calls
        return {"messages": [ToolMessage(workload.TOOL_RESULT, tool_call_id=call["id"]) for call in calls]}

    async def async_model(state: AgentState) -> dict[str, Any]:
        return model(state)

    async def async_tools(state: AgentState) -> dict[str, Any]:
        return tools(state)

    builder = StateGraph(AgentState)
    builder.add_node("model", async_model if asynchronous else model)
    builder.add_node("tools", async_tools if asynchronous else tools)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    builder.add_edge("tools", "model")
    return builder


def prompt() -> dict[str, Any]:
    return {"messages": [("system", workload.SYSTEM_PROMPT), ("user", workload.USER_PROMPT)]}


def steps_input(total: int) -> StepState:
    return {"number": 0, "total": total, "last": {}}


def check_steps(wanted: int) -> None:
    """Fail if another number of steps was executed."""
    expect(executed, wanted)
