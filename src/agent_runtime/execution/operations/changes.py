"""What the code asks otherwise than the journal records: what has happened counts, and an answer is for what people were asked."""

from __future__ import annotations

from agent_runtime.errors import NondeterminismError
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.journal.history import Step
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.action import ActionSpec
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.fingerprint import hash_of
from agent_runtime.values.person import person_key
from llm_client.logs import logger_of
from llm_client.turns import read_aside

logger = logger_of(__name__)


def warn_changed(run: JobRun, operation_id: str, kind: str, name: str) -> None:
    """Record, once, that a finished step would be asked something else today; its recorded outcome is used.

    Raises:
        NondeterminismError: The kernel is strict.
    """
    said = f"{kind} {name!r} at {operation_id!r} is asked something else than the journal records"
    if run.services.options.strict:
        raise run.lifecycle.refuse(NondeterminismError(f"{said}, and the kernel is strict"))
    if operation_id not in run.history.warned:
        logger.warning("job %s: %s; the recorded outcome is used", run.job_id, said)
        data = {"warning": "changed_input", "step": operation_id, "kind": kind, "name": name}
        run.journal.record(NewEvent(RuntimeEventType.JOB_WARNING, None, data))


async def hash_of_question(branch: Branch, recorded: Step | None, spec: ActionSpec) -> str:
    """Return a hash of what people are asked, who of them, and how many must agree; its type stands in the journal by itself.

    Args:
        branch: The line that asks.
        recorded: What the journal has at its place.
        spec: What the code asks.

    Raises:
        NondeterminismError: People were asked something else, and their answer could be taken for one to this.
    """
    people = None if spec.approvers is None else sorted(map(person_key, spec.approvers))

    def hashed() -> str:
        return hash_of([branch.run.tokens.hidden(spec.payload), people, spec.quorum])

    asks = await read_aside(spec.payload, hashed)
    if recorded is not None and recorded.input_hash not in (None, asks):
        _other_question(branch, recorded)
    return asks


def _other_question(branch: Branch, asked: Step) -> None:
    """Refuse to ask something else than was asked, unless the line has gone on from its end; then warn.

    A question whose code holds it may be followed by anything before its answer is read, so nothing tells whether it was.
    """
    run, operation_id = branch.run, asked.operation_id
    has_ended = operation_id in run.history.arrived or operation_id in run.history.withdrawn
    if has_ended and branch.is_recorded_ahead() and not asked.declaration.data.get("held"):
        warn_changed(run, operation_id, "action", asked.name)
        return
    raise run.lifecycle.refuse(
        NondeterminismError(
            f"at {operation_id!r} the code asks something else, or other people, than the question {asked.name!r} that the "
            "journal records, whose answer would be taken for one to that; guard the new question with "
            "context.patched(...), or let the version that began this job finish it"
        )
    )
