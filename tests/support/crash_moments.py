"""The moments around every journal boundary of every kind of step of the mixed job."""


def around_effect(kind: str, name: str) -> list[str]:
    """Return the five moments around an effect that has an intent."""
    started, completed = f"{kind}.started:{name}", f"{kind}.completed:{name}"
    return [f"before:{started}", f"after:{started}", f"inside:{name}", f"after:{name}", f"after:{completed}"]


MOMENTS = [
    *around_effect("model", "model"),
    "inside:look",
    "after:look",
    "after:tool.completed:look",
    *around_effect("tool", "save"),
    *around_effect("tool", "pay"),
    "before:action.required:approval",
    "after:action.required:approval",
    "before:action.resolved",
    "after:action.resolved",
    *around_effect("step", "note"),
    "before:timer.set",
    "after:timer.set",
    "before:timer.fired",
    "after:timer.fired",
    "before:action.required:confirm",
    "after:action.required:confirm",
    *around_effect("step", "seal"),
    "before:job.succeeded",
    "after:job.succeeded",
]
