"""pydantic-ai's direct model requests, its thinnest layer."""

from workload import Calls, Connect, Message, main


def load() -> Connect:
    from openai import AsyncOpenAI
    from pydantic_ai.direct import model_request, model_request_stream
    from pydantic_ai.messages import (
        ModelMessage,
        ModelRequest,
        ModelResponse,
        PartDeltaEvent,
        PartStartEvent,
        SystemPromptPart,
        TextPart,
        UserPromptPart,
    )
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    def said(message: Message) -> ModelMessage:
        if message["role"] == "assistant":
            return ModelResponse(parts=[TextPart(message["content"])])
        part = SystemPromptPart if message["role"] == "system" else UserPromptPart
        return ModelRequest(parts=[part(message["content"])])

    async def connect(url: str) -> Calls:
        client = AsyncOpenAI(api_key="sk-test", base_url=url + "/v1")
        model = OpenAIChatModel("gpt-5.2", provider=OpenAIProvider(openai_client=client))

        async def ask(messages: list[Message]) -> object:
            return (await model_request(model, [said(message) for message in messages])).parts

        async def stream(messages: list[Message]) -> object:
            async with model_request_stream(model, [said(message) for message in messages]) as events:
                return len(
                    [1 async for event in events if isinstance(event, PartStartEvent | PartDeltaEvent)]
                )

        return Calls(ask=ask, stream=stream, close=client.close)

    return connect


if __name__ == "__main__":
    main(load)
