"""What must hold when a story is over, counted from outside: the world against the journal against the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agent_runtime import JobFilter, JobRecord, LedgerEntry, RuntimeEvent, RuntimeKernel
from agent_runtime.values.deaths import CRASH_LOOP
from agent_runtime.values.event import STOP_REQUESTS, TERMINAL_TYPES, RuntimeEventType
from support.kernels import run_key
from support.soak.plans import JobPlan, fits, kept_children, programs, result_of, within
from support.soak.programs import MAX_CRASHES
from support.soak.world import OUTCOMES, Happening

SLACK = 1.0
"""Seconds that the clocks of two processes, as they believe the server's to be, are never apart."""
OUTLIVES = 10.0
"""Seconds after its parent's end in which a job has heard that it is to stop."""
_ONCE = frozenset({"timer.fired", "action.resolved", "action.expired", "child.ended"})


class Findings:
    """Broken promises of one story."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def check(self, holds: bool, said: str) -> None:
        """Note a promise unless it holds."""
        if not holds:
            self.said.append(said)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a story was, when it is over."""

    plans: dict[str, JobPlan]
    """Of each submitted job."""
    followed: dict[str, list[int]]
    """What a follower of each has seen: the seqs."""
    retried: dict[str, str]
    """The jobs that were retried, and as which they went on."""
    copies: dict[str, list[int]]
    """What a projection was handed of each job: the seqs, in the order in which they came first."""
    world: Sequence[Happening]
    """What happened."""
    paused: bool
    """Whether a worker was paused, which may then have had an effect that nobody waited for any more, and hand entries out late."""


async def check_story(desk: RuntimeKernel, story: Ended, findings: Findings) -> None:
    """Check everything; `desk` is a kernel that only looks."""
    jobs = await all_jobs(desk)
    journals = {job_id: await _events(desk, job_id) for job_id in jobs}
    for job_id, job in jobs.items():
        check_journal(job, journals[job_id], findings)
    for job_id, plan in story.plans.items():
        check_result(plan, last_of(story.retried.get(job_id, job_id), jobs, journals), journals, findings)
        check_poison(plan, job_id, journals, story.world, findings)
    for job_id, seen in story.followed.items():
        findings.check(seen == [event.seq for event in journals[job_id]], f"{job_id}: a follower saw {seen}")
    for job_id, events in journals.items():
        copy = story.copies.get(job_id, [])
        if (
            story.paused
        ):  # one that stood still may hand out later entries, again, before the one that took over does
            copy = sorted(copy)
        findings.check(copy == [event.seq for event in events], f"{job_id}: a projection was handed {copy}")
    audit = await desk.audit.verify()
    findings.check(audit.is_intact, f"the audit says {[finding.text for finding in audit.findings]}")
    everything = [event for events in journals.values() for event in own(events)]
    check_effects(story.world, findings, paused=story.paused)
    if not story.paused:
        check_refunds(story.plans, story.world, findings)
    kept = {one["program"]["id"] for plan in story.plans.values() for one in kept_children(plan.program)}
    check_families(jobs, journals, kept, findings)
    await check_questions(desk, jobs, everything, findings)
    await check_money(desk, jobs, everything, story.plans, story.world, findings)


def own(events: Sequence[RuntimeEvent]) -> Sequence[RuntimeEvent]:
    """Return what a job has written itself: a retry begins with what it recalls."""
    if not events or "retries" not in events[0].data:
        return events
    began = next((n for n, event in enumerate(events) if event.type == RuntimeEventType.JOB_STARTED), 0)
    return events[began:]


async def all_jobs(desk: RuntimeKernel) -> dict[str, JobRecord]:
    """Return every job there is, children and successors too."""
    return {job.job_id: job for job in await desk.jobs.list(JobFilter(limit=10_000))}


async def _events(desk: RuntimeKernel, job_id: str) -> list[RuntimeEvent]:
    return list(await desk.storage.events(job_id, limit=100_000))


def last_of(job_id: str, jobs: dict[str, JobRecord], journals: dict[str, list[RuntimeEvent]]) -> JobRecord:
    """Return the job that a job went on as."""
    while journals[job_id] and (successor := journals[job_id][-1].data.get("continued_as")):
        job_id = successor
    return jobs[job_id]


def check_journal(job: JobRecord, events: Sequence[RuntimeEvent], findings: Findings) -> None:
    """One terminal event, at the end; no gap; no outcome twice; no owner left."""
    job_id = job.job_id
    findings.check(job.status.is_terminal, f"{job_id} is lost: {job.status}, {[e.type for e in events[-4:]]}")
    findings.check(
        [e.seq for e in events] == list(range(1, len(events) + 1)), f"{job_id}: gaps in the journal"
    )
    ends = [index for index, event in enumerate(events) if event.type in TERMINAL_TYPES]
    findings.check(
        not job.status.is_terminal or ends == [len(events) - 1],
        f"{job_id}: terminal events at {ends} of {len(events)}",
    )
    findings.check(not job.status.is_terminal or job.owner is None, f"{job_id} ended and has an owner")
    outcomes: Counter[tuple[str | None, str]] = Counter()
    for event in own(events):
        if event.type in ("step.started", "tool.started", "model.started"):
            begun = outcomes[event.operation_id, "outcome"] + outcomes[event.operation_id, "answer"]
            findings.check(not begun, f"{job_id}: begun after it had ended: {event.operation_id}")
        if event.type == RuntimeEventType.JOB_RETRIED:
            for operation in (*event.data["reopens"], *event.data["drops"]):
                del outcomes[operation, "outcome"], outcomes[operation, "answer"]
        if event.type in OUTCOMES:
            outcomes[event.operation_id, "outcome"] += 1
        elif event.type in ("model.completed", "model.failed") and event.data.get("final", True):
            outcomes[event.operation_id, "answer"] += 1
        elif event.type in _ONCE:
            outcomes[event.operation_id, "arrival"] += 1
    twice = {key: count for key, count in outcomes.items() if count > 1}
    findings.check(not twice, f"{job_id}: recorded more than once: {twice}")


def check_result(
    plan: JobPlan, job: JobRecord, journals: dict[str, list[RuntimeEvent]], findings: Findings
) -> None:
    """The same end as an undisturbed run's, unless somebody stopped it or money ran out."""
    status, output = result_of(plan.program)
    allowed = {status}
    if plan.cancel_after is not None:
        allowed.add("cancelled")
    if plan.stumbles and not plan.undisturbed:
        allowed.add("failed")
    if plan.poison:
        allowed = {"cancelled"}
    if plan.deadline is not None:
        allowed.add("timed_out")
    if plan.budget == "tight":
        allowed |= {"failed", "succeeded"}
    findings.check(
        str(job.status) in allowed, f"{job.job_id} is {job.status} ({job.error}), not {sorted(allowed)}"
    )
    events = journals[job.job_id]
    if str(job.status) == "succeeded" == status and plan.undisturbed and events:
        told = (events[-1].body() or {}).get("output_data", {}).get("output")
        findings.check(fits(told, output), f"{job.job_id} gave {told}, not {output}")


def check_effects(world: Sequence[Happening], findings: Findings, *, paused: bool) -> None:
    """Nothing that is finished happens again; what must not be repeated happens once at most."""
    times: dict[tuple[str, str], list[Happening]] = {}
    for happening in world:
        findings.check(not happening.again, f"{happening.node} happened after it was finished")
        if happening.kind not in ("answer", "refusal"):
            times.setdefault((happening.kind, happening.node), []).append(happening)
    for (kind, node), happenings in times.items():
        if kind in ("unsafe", "reconcilable") and not paused:
            findings.check(len(happenings) == 1, f"{kind} {node} happened {len(happenings)} times")
        operations = {happening.operation for happening in happenings}
        findings.check(len(operations) == 1, f"{kind} {node} had the operation ids {operations}")


def check_poison(
    plan: JobPlan,
    job_id: str,
    journals: dict[str, list[RuntimeEvent]],
    world: Sequence[Happening],
    findings: Findings,
) -> None:
    """What kills is tried a few times and set aside; nobody else is."""
    condemned = [event for event in journals[job_id] if event.data.get("code") == CRASH_LOOP]
    findings.check(plan.poison or not condemned, f"{job_id} was condemned and is innocent")
    if plan.poison:
        # Not every answer kills: a process that stops in good order leaves one on its way, and its job with a good-bye.
        killed = sum(one.kind == "death" and one.node == plan.program["nodes"][-1]["id"] for one in world)
        pardons = sum(event.type == RuntimeEventType.JOB_BLOCKED for event in journals[job_id]) - 1
        most = (2 + MAX_CRASHES) * (1 + pardons)  # a release that cannot run it says good-bye
        findings.check(len(condemned) == 1, f"{job_id} was set aside {len(condemned)} times")
        findings.check(killed <= most, f"{job_id} has killed {killed} times, not {most} at most")


def check_refunds(plans: dict[str, JobPlan], world: Sequence[Happening], findings: Findings) -> None:
    """When the failure of a branch has been seen and made good for, no branch beside it does anything more."""
    order: dict[str, int] = {}
    for number, happening in enumerate(world):
        if happening.kind not in (
            "read",
            "pure",
            "refusal",
        ):  # without an intent, a lost worker may still look
            order[happening.node] = number
    made_good = {one.node: n for n, one in reversed([*enumerate(world)]) if one.kind == "refund"}
    for plan in plans.values():
        for program in programs(plan.program):
            for gather in (node for node in within(program["nodes"]) if node["id"] in made_good):
                for node in within([each for branch in gather["branches"] for each in branch]):
                    is_late = order.get(node["id"], -1) > made_good[gather["id"]]
                    findings.check(
                        not is_late, f"{node['id']} happened after {gather['id']} was made good for"
                    )


def check_families(
    jobs: dict[str, JobRecord],
    journals: dict[str, list[RuntimeEvent]],
    kept: Collection[str],
    findings: Findings,
) -> None:
    """Who goes with a parent is asked to stop when it ends; who is kept (`kept` names their programs) is not."""
    for job in jobs.values():
        program = journals[job.job_id][0].body()["id"]
        is_stopped = any(event.type in STOP_REQUESTS for event in journals[job.job_id])
        findings.check(program not in kept or not is_stopped, f"{job.job_id} was to be kept and was stopped")
        parent = jobs.get(job.parent_job_id or "")
        if parent is None or not parent.status.is_terminal:
            continue
        asked = any(event.type in STOP_REQUESTS for event in journals[job.job_id])
        ended = journals[parent.job_id][-1]
        is_late = (job.created_at - ended.timestamp).total_seconds() > SLACK
        outlives = (journals[job.job_id][-1].timestamp - ended.timestamp).total_seconds() > OUTLIVES
        if job.on_parent_end == "cancel":
            findings.check(
                asked or not is_late, f"{job.job_id} began after its parent {parent.job_id} had ended"
            )
            findings.check(asked or not outlives, f"{job.job_id} outlived its parent {parent.job_id} by far")


async def check_questions(
    desk: RuntimeKernel, jobs: dict[str, JobRecord], events: Sequence[RuntimeEvent], findings: Findings
) -> None:
    """Nobody is asked anything by a job that has ended, except what became of a lost effect; no timer is left."""
    for action in await desk.storage.list_actions(limit=10_000):
        job = jobs[action.job_id or ""]
        if action.is_pending and job.status.is_terminal:
            findings.check(action.type == "reconcile", f"{action.job_id} has ended and still asks {action}")
    never = await desk.storage.due_timers(desk.clock.now().replace(year=2100), limit=10_000)
    left = [timer.key for timer in never if timer.job_id in jobs]
    findings.check(not left, f"timers were left behind: {left}")
    open_: dict[str | None, RuntimeEvent] = {}
    for event in events:
        if event.type in ("tool.started", "step.started") and event.data["effect"] in (
            "unsafe",
            "reconcilable",
        ):
            open_[event.operation_id] = event
        elif event.type in OUTCOMES or event.type in ("tool.unknown", "step.unknown"):
            open_.pop(event.operation_id, None)
    lost = [
        f"{event.data['name']} of {event.job_id}"
        for event in open_.values()
        if not await _stood_still(events, event)
    ]
    findings.check(not lost, f"nobody was told of lost effects: {lost}")


async def _stood_still(events: Sequence[RuntimeEvent], started: RuntimeEvent) -> bool:
    later = [
        e.type
        for e in events
        if (e.job_id, e.operation_id) == (started.job_id, started.operation_id)
        and e.type.startswith(("tool.", "step."))  # the line inside it has the same place
    ]
    return later[-1].endswith(".blocked")


async def check_money(
    desk: RuntimeKernel,
    jobs: dict[str, JobRecord],
    events: Sequence[RuntimeEvent],
    plans: dict[str, JobPlan],
    world: Sequence[Happening],
    findings: Findings,
) -> None:
    """The ledger equals the journal and the model's answers; counters equal the ledger; nothing stays reserved."""
    entries: list[LedgerEntry] = []
    while page := await desk.ledger.entries(type="model_usage", after=entries[-1] if entries else None):
        entries += page
    attempts = [
        e for e in events if e.type in ("model.completed", "model.attempt_failed") and "attempt" in e.data
    ]
    named = Counter(f"{e.job_id}:{_place_of(e)}#{e.data['attempt']}" for e in attempts)
    findings.check(
        named == Counter(entry.entry_id for entry in entries),
        f"the journal's attempts are not the ledger's: {named - Counter(e.entry_id for e in entries)}",
    )
    answers = sum(happening.kind == "answer" for happening in world)
    asked = answers + sum(happening.kind == "refusal" for happening in world)
    certain = sum(entry.status == "completed" for entry in entries)
    uncertain = sum(entry.uncertain for entry in entries)
    findings.check(
        certain <= answers <= certain + uncertain, f"{answers} answers, {certain} + {uncertain} billed"
    )
    findings.check(
        asked <= len(entries), f"the model was asked {asked} times and {len(entries)} entries were made"
    )
    for job_id in plans:
        await _check_counters(desk, job_id, _family(job_id, jobs), entries, plans[job_id], findings)


def _place_of(event: RuntimeEvent) -> str:
    return (event.operation_id or "").partition(":")[2]


def _family(job_id: str, jobs: dict[str, JobRecord]) -> set[str]:
    """Return a job, its descendants, and those it went on as."""
    family, before = {job_id}, 0
    while len(family) > before:
        before = len(family)
        chains = {jobs[one].chain_id for one in family}
        family |= {
            job.job_id for job in jobs.values() if job.parent_job_id in family or job.chain_id in chains
        }
    return family


async def _check_counters(
    desk: RuntimeKernel,
    job_id: str,
    family: set[str],
    entries: Sequence[LedgerEntry],
    plan: JobPlan,
    findings: Findings,
) -> None:
    key = run_key(job_id)
    (counters,) = await desk.storage.counters([key])
    reserved = (counters.reserved.tokens, counters.reserved.cost)
    findings.check(reserved == (0, 0), f"{job_id}: {reserved} stay reserved")
    if plan.budget != "none":
        spent = sum(_counted(entry, key) for entry in entries if entry.job_id in family)
        findings.check(
            counters.settled.cost == spent,
            f"{job_id}: the budget counts {counters.settled.cost}, the ledger {spent}",
        )


def _counted(entry: LedgerEntry, key: tuple[str, str]) -> int:
    """Return what an entry cost a budget: of a lost answer, what had been set aside in this one."""
    for budget_id, window, amount in entry.metadata.get("settled", ()):
        if (budget_id, window) == key:
            return int(amount.get("cost", 0))
    return entry.units or 0
