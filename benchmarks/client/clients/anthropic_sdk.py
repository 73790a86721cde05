"""Anthropic's own SDK."""

from workload import Calls, Connect, Message, main


def load() -> Connect:
    from anthropic import AsyncAnthropic

    async def connect(url: str) -> Calls:
        client = AsyncAnthropic(api_key="sk-test", base_url=url)

        async def ask(messages: list[Message]) -> object:
            answer = await client.messages.create(
                model="claude-sonnet-4-6",
                max_tokens=100,
                system=messages[0]["content"],
                messages=messages[1:],
            )
            return answer.content[0].text

        async def stream(messages: list[Message]) -> object:
            events = await client.messages.create(
                model="claude-sonnet-4-6",
                max_tokens=100,
                system=messages[0]["content"],
                messages=messages[1:],
                stream=True,
            )
            return len([1 async for event in events if event.type == "content_block_delta"])

        return Calls(ask=ask, stream=stream, close=client.close)

    return connect


if __name__ == "__main__":
    main(load)
