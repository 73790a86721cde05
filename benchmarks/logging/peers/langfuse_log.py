"""OpenAI's SDK, each call inside of a generation of Langfuse's client, which exports to a server that takes everything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alternating import Calls, main
from langfuse import Langfuse
from openai import AsyncOpenAI


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Calls]:
    client = AsyncOpenAI(api_key="sk-test", base_url=url + "/v1")
    langfuse = Langfuse(public_key="pk-lf-bench", secret_key="sk-lf-" + "bench", base_url=url)

    async def plain(text: str) -> object:
        return await client.chat.completions.create(
            model="gpt-5.2", messages=[{"role": "user", "content": text}]
        )

    async def logged(text: str) -> object:
        with langfuse.start_as_current_observation(
            as_type="generation", name="planner", model="gpt-5.2", input=[{"role": "user", "content": text}]
        ) as generation:
            answer = await client.chat.completions.create(
                model="gpt-5.2", messages=[{"role": "user", "content": text}]
            )
            generation.update(
                output=answer.choices[0].message.content,
                usage_details={
                    "input": answer.usage.prompt_tokens,
                    "output": answer.usage.completion_tokens,
                },
            )
        return answer

    async def settle() -> None:
        langfuse.flush()

    yield Calls(plain=plain, logged=logged, settle=settle)
    langfuse.shutdown()
    await client.close()


if __name__ == "__main__":
    main(connect)
