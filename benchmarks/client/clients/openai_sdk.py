"""OpenAI's own SDK, as shipped or on aiohttp (argument 3)."""

import sys

from workload import Calls, Connect, Message, main


def load() -> Connect:
    variant = sys.argv[3]
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def connect(url: str) -> Calls:
        http = DefaultAioHttpClient() if variant == "aiohttp" else None
        client = AsyncOpenAI(api_key="sk-test", base_url=url + "/v1", http_client=http)

        async def ask(messages: list[Message]) -> object:
            answer = await client.chat.completions.create(model="gpt-5.2", messages=messages)
            return answer.choices[0].message.content

        async def stream(messages: list[Message]) -> object:
            chunks = await client.chat.completions.create(model="gpt-5.2", messages=messages, stream=True)
            return len([1 async for chunk in chunks if chunk.choices and chunk.choices[0].delta.content])

        return Calls(ask=ask, stream=stream, close=client.close)

    return connect


if __name__ == "__main__":
    main(load)
