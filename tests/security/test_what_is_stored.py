"""What of a database's rows passed the one door, and what stands there as it was given: every column is one or the other."""

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agent_runtime import (
    ExecutionRequest,
    JobFailed,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    PolicyRule,
)
from agent_runtime.ports.commit import NewEvent, Signal
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.schema import metadata
from support.kernels import BOUND, kernel

pytestmark = pytest.mark.timeout(BOUND * 3)

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
KEY = "sk-" + "a1B2" * 10
WORD = "hunter" + "2bass"
LETTERS = "sword" + "fish"

NEIGHBOURS: dict[str, tuple[dict[str, Any], str]] = {
    "an option and its argument": ({"argv": ["mysql", "--password", LETTERS]}, LETTERS),
    "a user of curl": ({"argv": ["curl", "-u", f"ada:{LETTERS}"]}, LETTERS),
    "tags of a cloud": ({"tags": [{"Key": "password", "Value": LETTERS}]}, LETTERS),
    "a field of a form": ({"name": "password", "val": LETTERS}, LETTERS),
    "short names": ({"k": "password", "v": LETTERS}, LETTERS),
    "a key of JSON": ({"kty": "oct", "k": LETTERS}, LETTERS),
    "the code of a login": ({"grant_type": "authorization_code", "code": LETTERS}, LETTERS),
    "a secret of a cluster": ({"kind": "Secret", "data": {"x": LETTERS}}, LETTERS),
    "pieces of a stream": ({"pieces": [{"delta": KEY[:20]}, {"delta": KEY[20:]}]}, KEY[20:]),
    "a header": ({"headers": [["Authorization", LETTERS]]}, LETTERS),
    "a named value": ({"name": "password", "value": LETTERS}, LETTERS),
    "deep down": ({"a": [{"b": {"c": ["run", "--api-key", LETTERS]}}]}, LETTERS),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_what_only_neighbours_tell_is_in_no_event_and_no_signal(name: str) -> None:
    data, secret = NEIGHBOURS[name]
    assert secret in str(data)

    assert secret not in str(NewEvent("custom.told", None, data).data)
    assert secret not in str(Signal("s", "j", "custom.told", None, data).data)


def test_data_without_a_secret_is_shared_and_not_copied() -> None:
    data = {"name": "look_up", "seq": 3, "argv": ["run", "fast"], "usage": {"input_tokens": 12}}

    assert NewEvent("custom.told", None, data).data is data


async def test_tags_and_metadata_are_stored_as_given_and_told_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rules ask for tags and requests are compared by both, so that they must be what was given; nobody else is told."""

    async def operator(context: OperatorContext, given: Any) -> None:
        raise ValueError("no")

    async with kernel(MemoryStorage(), operators=[operator]) as k:
        request = ExecutionRequest(operator="operator", tags={"team": KEY}, metadata={"note": WORD})
        handle = await k.execute(request)
        with pytest.raises(JobFailed):
            await handle.result()

        job = await k.storage.get_job(handle.job_id)
        events = await k.storage.events(handle.job_id)

    assert job is not None
    assert (job.tags, job.metadata) == ({"team": KEY}, {"note": WORD})
    told = " ".join(f"{event.type} {event.data} {event.content!r}" for event in events)
    assert len(events) > 2
    assert KEY not in told + caplog.text
    assert WORD not in told + caplog.text


def test_every_column_has_passed_the_door_or_is_on_the_page() -> None:
    """A new column of text is decided about: it is made public, or the page says that it is not."""
    rows = (line.split("|") for line in PAGE.partition("## What is stored")[2].splitlines())
    said = {
        row[1].strip(" `"): set(re.findall(r"`(\w+)`", "".join(row[2:]))) for row in rows if len(row) >= 4
    }
    kinds = (sa.Text, sa.JSON, sa.LargeBinary)

    def is_text(column: sa.Column[Any]) -> bool:
        kind = column.type
        return isinstance(kind, kinds) or (
            isinstance(kind, sa.types.TypeDecorator) and isinstance(kind.impl_instance, kinds)
        )

    columns = {
        table.name: {column.name for column in table.columns if is_text(column)}
        for table in metadata.sorted_tables
    }
    assert {name: columns[name] - said.get(name, set()) for name in columns if columns[name]} == {
        name: set() for name in columns if columns[name]
    }


async def test_a_secret_is_no_type_of_an_event_and_no_code_of_an_error() -> None:
    class Coded(Exception):
        code = KEY

    async def tells(context: OperatorContext, given: Any) -> None:
        await context.emit(f"custom.{KEY}")

    async def fails(context: OperatorContext, given: Any) -> None:
        raise Coded("no")

    async with kernel(MemoryStorage(), operators=[tells, fails]) as k:
        for operator in ("tells", "fails"):
            handle = await k.execute(ExecutionRequest(operator=operator))
            with pytest.raises(JobFailed):
                await handle.result()
            job = await k.storage.get_job(handle.job_id)
            events = await k.storage.events(handle.job_id)
            assert KEY not in f"{job} {events}"
            assert KEY.upper() not in f"{job} {events}"


@pytest.mark.parametrize("name", ["step", "child", "patched"])
async def test_a_secret_is_no_key_of_a_step_and_no_id_of_a_change(name: str) -> None:
    async def refused(context: OperatorContext, given: Any) -> None:
        match name:
            case "step":
                await context.step(str, key=KEY)
            case "child":
                await context.child("other", key=KEY)
            case _:
                context.patched(KEY)

    async def other(context: OperatorContext, given: Any) -> None:
        """Never run."""

    async with kernel(MemoryStorage(), operators=[refused, other]) as k:
        handle = await k.execute(ExecutionRequest(operator="refused"))
        with pytest.raises(JobFailed, match="looks like a secret"):
            await handle.result()
        assert KEY not in f"{await k.storage.events(handle.job_id)}"


async def test_the_reason_of_a_refused_job_holds_none() -> None:
    async def refused(context: OperatorContext, given: Any) -> None:
        """Never run."""

    engine = PolicyEngine([PolicyRule(name="r", action="job", decision="deny", reason=f"ask with {KEY}")])
    async with kernel(MemoryStorage(), operators=[refused], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="refused"))
        with pytest.raises(PolicyDenied):
            await handle.result()
        assert KEY not in f"{await handle.job()} {await k.storage.events(handle.job_id)}"
