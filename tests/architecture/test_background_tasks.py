"""Tasks are begun, and ended, in one room: what is begun elsewhere may be forgotten, and its error lost with it."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
ROOM = "llm_client/background.py"
BEGIN = {"create_task", "ensure_future", "as_completed"}
FOR_OTHER_PEOPLES_CODE = {
    "agent_runtime/execution/executor.py": "the operator, in the context that is made for its job",
    "agent_runtime/execution/operations/gathering.py": "branches of a job",
    "agent_runtime/operators/child_handle.py": "a child without a job, beside its parent",
    "agent_runtime/operators/context.py": "waits of an operator without a job",
}
"""Who begins tasks in the context of a job; the runtime's own work for all, in an empty one."""
NOT_IN_JOBS = ("cli", "demo", "server", "testing")


def modules() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(SOURCE.rglob("*.py"))
    ]


def calls(tree: ast.Module, names: set[str]) -> list[ast.Call]:
    """Return the calls of functions and methods of these names, however they were imported."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in names)
            or (isinstance(node.func, ast.Name) and node.func.id in names)
        )
    ]


def test_tasks_are_begun_in_one_room() -> None:
    found = [f"{name}:{call.lineno}" for name, tree in modules() for call in calls(tree, BEGIN)]
    elsewhere = [one for one in found if not one.startswith((ROOM, "agent_runtime/testing/"))]
    assert elsewhere == []
    assert len([one for one in found if one.startswith(ROOM)]) == 1


def test_tasks_of_the_runtime_are_begun_in_an_empty_context() -> None:
    def has_context(call: ast.Call) -> bool:
        return any(
            keyword.arg == "context"
            and isinstance(keyword.value, ast.Call)
            and isinstance(keyword.value.func, ast.Name)
            and keyword.value.func.id == "Context"
            for keyword in call.keywords
        )

    found = {
        name
        for name, tree in modules()
        for call in calls(tree, {"begin", "gather_or_cancel"})
        if name.startswith("agent_runtime/")
        and name.split("/")[1] not in NOT_IN_JOBS
        and not has_context(call)
    }
    assert found - IN_THE_ROOMS_OWN_CONTEXT == set(FOR_OTHER_PEOPLES_CODE)


IN_THE_ROOMS_OWN_CONTEXT = {"agent_runtime/storage/postgres/claims.py", "agent_runtime/worker/projectors.py"}
"""What is begun inside a task of the runtime's own has its empty context."""
