"""llm_client: a provider alone, on either transport, or behind the engine (argument 3)."""

import sys
from importlib import import_module

from workload import Calls, Connect, Message, main


def load() -> Connect:
    variant = sys.argv[3]
    # A provider imports its HTTP library at its first request; here it counts as part of the import.
    import_module("aiohttp" if variant == "aiohttp" else "httpcore2")
    from llm_client import ExecutionEngine, OpenAIProvider, RequestContext, RequestSpec
    from llm_client import Message as Said

    context = RequestContext()

    def spec(messages: list[Message]) -> RequestSpec:
        return RequestSpec(messages=[Said(message["role"], message["content"]) for message in messages])

    async def connect(url: str) -> Calls:
        transport = None
        if variant == "aiohttp":
            from llm_client.providers.transport.aiohttp import AiohttpTransport

            transport = AiohttpTransport()
        provider = OpenAIProvider("gpt-5.2", api_key="sk-test", base_url=url + "/v1", transport=transport)
        engine = ExecutionEngine(provider=provider, max_concurrency=1000)

        async def ask(messages: list[Message]) -> object:
            return (await provider.complete(spec(messages), context)).content

        async def ask_engine(messages: list[Message]) -> object:
            return (await engine.complete(spec(messages), context=context)).content

        async def stream(messages: list[Message]) -> object:
            events = provider.stream(spec(messages), context)
            return len([event async for event in events if event.type == "token"])

        async def stream_engine(messages: list[Message]) -> object:
            events = engine.stream(spec(messages), context=context)
            return len([event async for event in events if event.type == "token"])

        async def close() -> None:
            await provider.aclose()
            if transport is not None:
                await transport.aclose()

        if variant == "engine":
            return Calls(ask=ask_engine, stream=stream_engine, close=close)
        return Calls(ask=ask, stream=stream, close=close)

    return connect


if __name__ == "__main__":
    main(load)
