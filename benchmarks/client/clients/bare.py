"""httpx2 and orjson by hand: what any client on httpx2 could at best cost."""

from workload import Calls, Connect, Message, main


def load() -> Connect:
    import httpx2
    import orjson

    headers = {"authorization": "Bearer sk-test", "content-type": "application/json"}

    async def connect(url: str) -> Calls:
        client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100))
        address = url + "/v1/chat/completions"

        async def ask(messages: list[Message]) -> object:
            body = orjson.dumps({"model": "gpt-5.2", "messages": messages})
            response = await client.post(address, content=body, headers=headers)
            return orjson.loads(response.content)["choices"][0]["message"]["content"]

        async def stream(messages: list[Message]) -> object:
            body = orjson.dumps({"model": "gpt-5.2", "messages": messages, "stream": True})
            pieces = 0
            async with client.stream("POST", address, content=body, headers=headers) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        choices = orjson.loads(line[6:])["choices"]
                        pieces += bool(choices and choices[0]["delta"].get("content"))
            return pieces

        return Calls(ask=ask, stream=stream, close=client.aclose)

    return connect


if __name__ == "__main__":
    main(load)
