"""LiteLLM's `acompletion`."""

import os

from workload import Calls, Connect, Message, main


def load() -> Connect:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads a price list
    import litellm

    litellm.telemetry = False

    async def connect(url: str) -> Calls:
        where = {"api_key": "sk-test", "base_url": url + "/v1"}

        async def ask(messages: list[Message]) -> object:
            answer = await litellm.acompletion(model="openai/gpt-5.2", messages=messages, **where)
            return answer.choices[0].message.content

        async def stream(messages: list[Message]) -> object:
            chunks = await litellm.acompletion(
                model="openai/gpt-5.2", messages=messages, stream=True, **where
            )
            return len([1 async for chunk in chunks if chunk.choices and chunk.choices[0].delta.content])

        async def close() -> None:
            return

        return Calls(ask=ask, stream=stream, close=close)

    return connect


if __name__ == "__main__":
    main(load)
