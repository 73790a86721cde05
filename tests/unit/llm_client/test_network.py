"""Keeping tests off the network."""

import threading

import pytest

from llm_client import (
    AnthropicProvider,
    ExecutionEngine,
    GoogleProvider,
    Message,
    NetworkBlocked,
    OpenAIProvider,
    Provider,
    RequestSpec,
    ScriptedProvider,
    block_network,
)
from llm_client.network import NETWORK

SPEC = RequestSpec(messages=[Message.user("hi")])
KEY = "test-key-000"


@pytest.mark.parametrize(
    "provider",
    [
        OpenAIProvider(model="gpt-5.2", api_key=KEY),
        AnthropicProvider(model="claude-sonnet-4-5", api_key=KEY),
        GoogleProvider(model="gemini-2.5-pro", api_key=KEY),
    ],
    ids=lambda provider: str(provider.name),
)
async def test_a_real_provider_is_refused_and_says_what_to_use(provider: Provider) -> None:
    with block_network(), pytest.raises(NetworkBlocked, match="ScriptedProvider") as refused:
        await ExecutionEngine(provider).complete(SPEC)

    assert KEY not in str(refused.value)


async def test_a_double_is_not() -> None:
    with block_network():
        assert (await ExecutionEngine(ScriptedProvider(["ok"])).complete(SPEC)).content == "ok"


def test_blocks_nest_and_end() -> None:
    with block_network():
        with block_network():
            pass
        with pytest.raises(NetworkBlocked):
            NETWORK.check("somewhere")

    NETWORK.check("somewhere")


def test_a_block_holds_in_every_thread() -> None:
    refused: list[str] = []

    def call() -> None:
        try:
            NETWORK.check("somewhere")
        except NetworkBlocked as error:
            refused.append(str(error))

    with block_network():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    assert len(refused) == 1
