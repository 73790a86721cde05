"""The runtime's own tasks work for no job: they are begun in an empty context, whoever happens to begin them."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "agent_runtime"
BEGIN = {"create_task", "ensure_future"}
IN_A_CONTEXT_ON_PURPOSE = {
    "execution/executor.py": "the operator, in the context that is made for its job",
    "operators/child_handle.py": "a child without a job, beside its parent",
    "execution/operations/gathering.py": "branches of a job",
    "operators/context.py": "waits of an operator without a job",
    "ports/background.py": "`in_background` itself, and what is done for whoever waits for it",
}
NOT_IN_JOBS = ("cli", "demo", "server", "testing")


def begins_tasks(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in BEGIN
        for node in ast.walk(tree)
    )


def test_tasks_of_the_runtime_are_begun_in_an_empty_context() -> None:
    found = {
        name
        for path in SOURCE.rglob("*.py")
        if (name := path.relative_to(SOURCE).as_posix()).split("/")[0] not in NOT_IN_JOBS
        and begins_tasks(path)
    }
    assert found == set(IN_A_CONTEXT_ON_PURPOSE)
