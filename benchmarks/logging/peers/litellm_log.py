"""LiteLLM's `acompletion`, with a callback that appends LiteLLM's own record of the call to a file."""

import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alternating import Calls, main

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads a price list
import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

litellm.telemetry = False


class FileLog(CustomLogger):
    """Appends a line for each call."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.lines = 0

    async def async_log_success_event(
        self, kwargs: dict[str, object], response_obj: object, start_time: object, end_time: object
    ) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(kwargs["standard_logging_object"], default=str) + "\n")
        self.lines += 1


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Calls]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        log, asked = FileLog(Path(folder) / "calls.jsonl"), 0

        async def plain(text: str) -> object:
            messages = [{"role": "user", "content": text}]
            return await litellm.acompletion(
                model="openai/gpt-5.2", messages=messages, api_key="sk-test", base_url=url + "/v1"
            )

        async def logged(text: str) -> object:
            nonlocal asked
            asked += 1
            return await plain(text)

        async def begin(is_logged: bool) -> None:
            litellm.logging_callback_manager._reset_all_callbacks()  # noqa: SLF001 -- it has no public way
            litellm.callbacks = [log] if is_logged else []

        async def settle() -> None:
            await GLOBAL_LOGGING_WORKER.flush()

        yield Calls(plain=plain, logged=logged, begin=begin, settle=settle)
        if log.lines != asked:
            raise SystemExit(f"{log.lines} of {asked} calls were logged")


if __name__ == "__main__":
    main(connect)
