"""What went over the wire stands in a full call log, as the vendor writes it, without keys; and in no other."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.errors import RunError
from agent_runtime.observability import create_llm_logger
from agent_runtime.runner import AgentSpec, AsyncAgentRunner
from llm_client import ExecutionEngine, OpenAIProvider, ProviderError, RetryConfig
from support.call_logs import written_calls
from support.loopback import LoopbackServer, Reply, json_reply
from support.prompt_packs import prompt_pack

ODD_KEY = "zebra41-zebra42"
ANSWER = {
    "id": "chatcmpl-1",
    "model": "m-2026",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"a": "b"}'}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    "x_of_this_vendor": {"echo": f"you sent {ODD_KEY.upper()}", "number": 7},
}


async def logged(folder: Path, level: Any, *replies: Reply, sanitize: bool = True) -> list[dict[str, Any]]:
    """Run an agent against a server once, and return what was written of its attempts."""
    log = create_llm_logger(
        run_id="run", output_dir=folder, log_level=level, format="json", sanitize=sanitize
    )
    async with LoopbackServer(*replies) as server:
        provider = OpenAIProvider("m", api_key=ODD_KEY, base_url=server.url)
        engine = ExecutionEngine(provider, retry=RetryConfig(attempts=2, backoff=0.001))
        runner = AsyncAgentRunner(provider=engine, prompt_base_path=prompt_pack(folder), llm_logger=log)
        with contextlib.suppress(ProviderError, RunError):
            await runner.run(AgentSpec(name="planner", response_model=dict[str, str]), {"goal": "go"})
        await provider.aclose()
    await log.flush_async()
    return written_calls(log.path)


@pytest.mark.parametrize("sanitize", [True, False])
async def test_a_full_log_holds_what_the_vendor_was_sent_and_has_answered(
    tmp_path: Path, sanitize: bool
) -> None:
    failed = json_reply({"error": {"message": f"no room for {ODD_KEY}", "code": "busy"}}, status=503)
    first, second = await logged(tmp_path, "full", failed, json_reply(ANSWER), sanitize=sanitize)
    assert (first["response_status"], first["response_payload"]["error"]["code"]) == (503, "busy")
    assert (second["response_status"], second["response_payload"]["choices"]) == (200, ANSWER["choices"])
    assert second["response_payload"]["x_of_this_vendor"]["number"] == 7
    for call in (first, second):
        assert call["request_payload"]["model"] == "m"
        assert call["request_payload"]["messages"][-1]["role"] == "user"
        assert call["request_payload"]["response_format"]["type"] == "json_schema"
        assert ODD_KEY not in json.dumps(call).lower()


async def test_what_is_no_json_is_kept_as_its_text(tmp_path: Path) -> None:
    page = Reply(
        pieces=(f"<h1>{ODD_KEY}</h1>\xff".encode("latin-1"),),
        status=502,
        headers={"content-type": "text/html"},
    )
    (*_, last) = await logged(tmp_path, "full", page)
    assert last["response_payload"].startswith("<h1>")
    assert ODD_KEY not in json.dumps(last)


async def test_who_does_not_answer_is_told_of_all_the_same(tmp_path: Path) -> None:
    (*_, last) = await logged(tmp_path, "full", Reply(head=False, pieces=("reset",)))
    assert last["request_payload"]["model"] == "m"
    assert "response_payload" not in last
    assert "response_status" not in last


async def test_what_is_very_long_is_left_out(tmp_path: Path) -> None:
    long = {**ANSWER, "filler": "x" * 5_000_000}
    (call,) = await logged(tmp_path, "full", json_reply(long))
    assert call["response_payload"].endswith(" bytes>")
    assert call["raw_response"] == '{"a": "b"}'


@pytest.mark.parametrize("level", ["minimal", "standard"])
async def test_other_levels_hold_none(tmp_path: Path, level: str) -> None:
    (call,) = await logged(tmp_path, level, json_reply(ANSWER))
    assert not [name for name in call if name.endswith("_payload")]


async def test_runs_beside_each_other_hear_their_own(tmp_path: Path) -> None:
    def echo(received: Any) -> Reply:
        asked = received.json["messages"][-1]["content"]
        return json_reply({**ANSWER, "asked": asked})

    log = create_llm_logger(run_id="run", output_dir=tmp_path, log_level="full", format="json")
    async with LoopbackServer(echo) as server:
        provider = OpenAIProvider("m", api_key=ODD_KEY, base_url=server.url)
        runner = AsyncAgentRunner(provider=provider, prompt_base_path=prompt_pack(tmp_path), llm_logger=log)
        spec = AgentSpec(name="planner", response_model=dict[str, str])
        await asyncio.gather(*(runner.run(spec, {"goal": f"go {number}"}) for number in range(20)))
        await provider.aclose()
    await log.flush_async()
    calls = written_calls(log.path)
    assert len({call["response_payload"]["asked"] for call in calls}) == 20
    for call in calls:
        assert (
            call["response_payload"]["asked"]
            == call["request_payload"]["messages"][-1]["content"]
            == call["user_prompt"]
        )
