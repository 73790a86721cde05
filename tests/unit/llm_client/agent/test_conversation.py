"""Conversations: growing, forking, saving, and fitting into a context window."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import (
    Agent,
    AgentConfig,
    ConfigurationError,
    ContextLengthExceeded,
    Conversation,
    DropOldest,
    ExecutionEngine,
    FunctionProvider,
    MediaPart,
    Message,
    RequestSpec,
    ScriptedProvider,
    Summarise,
    ToolCall,
    Usage,
    tool,
)
from llm_client.agent.window import groups_of, split_droppable
from llm_client.tokens import TokenEstimator


def size(messages: Sequence[Message]) -> int:
    """One token per message keeps the tests countable."""
    return len(messages)


def called(number: int) -> Message:
    return Message.assistant("", [ToolCall(f"c{number}", "f", {}), ToolCall(f"d{number}", "f", {})])


def exchange(number: int) -> list[Message]:
    return [
        Message.user(f"question {number}"),
        called(number),
        Message.tool("x", f"c{number}"),
        Message.tool("y", f"d{number}"),
        Message.assistant(f"answer {number}"),
    ]


# saving


async def test_a_saved_conversation_comes_back(tmp_path: Path) -> None:
    conversation = Conversation(
        [*exchange(1), Message.user([MediaPart(media_type="image/png", data="aGk=")])]
    )
    await conversation.save(tmp_path / "talk.json")
    loaded = await Conversation.load(tmp_path / "talk.json")

    assert loaded.messages == conversation.messages
    assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]


def test_a_summary_is_saved_with_what_it_covers() -> None:
    conversation = Conversation([*exchange(1), *exchange(2)])
    covered = [conversation.messages[0], conversation.messages[4]]
    conversation.note_summary(Message.user("summary"), covered)
    loaded = Conversation.parse(conversation.dump())

    assert loaded.summary is not None
    assert loaded.summary.message == Message.user("summary")
    assert [
        message is loaded.messages[place]
        for message, place in zip(loaded.summary.covers, (0, 4), strict=True)
    ] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"format": 99, "messages": []}', b'{"format": 1, "messages": [{"x": 1}]}', b"\xff"],
)
def test_what_is_no_conversation_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError):
        Conversation.parse(text)


def test_a_fork_goes_its_own_way() -> None:
    trunk = Conversation(exchange(1))
    branch = trunk.fork()
    branch.extend(exchange(2))

    assert (len(trunk), len(branch)) == (5, 10)


# windows


def test_calls_and_their_results_are_one_piece() -> None:
    assert [len(group) for group in groups_of(exchange(1))] == [1, 3, 1]


@given(st.lists(st.sampled_from(["exchange", "question", "calls"]), max_size=12), st.integers(0, 40))
def test_a_cut_conversation_is_one_that_vendors_accept(pieces: list[str], limit: int) -> None:
    messages = [Message.system("s")]
    for number, piece in enumerate(pieces):
        if piece == "exchange":
            messages += exchange(number)
        elif piece == "question":
            messages.append(Message.user(f"question {number}"))
        else:
            messages += exchange(number)[:4]
    messages.append(Message.user("the last question"))

    system, dropped, rest = split_droppable(messages, limit=limit, measure=size)

    assert system == messages[:1]
    assert sorted(map(id, [*system, *dropped, *rest])) == sorted(map(id, messages))
    assert rest == [message for message in messages if any(message is kept for kept in rest)]
    assert rest[0].role == "user"
    assert any(message is messages[-1] for message in rest)
    calls = {call.id for message in rest for call in message.tool_calls}
    answers = {message.tool_call_id for message in rest if message.role == "tool"}
    assert calls == answers
    assert len(system) + len(rest) <= limit or {message.text for message in rest} == {"the last question"}


async def test_what_fits_is_sent_whole() -> None:
    provider = ScriptedProvider(["x"])
    agent = Agent(provider=provider, config=AgentConfig(max_tokens=10_000, reserve_tokens=100))
    await agent.run("hi", messages=exchange(1))

    assert len(provider.requests[0].messages) == 6


async def test_what_does_not_fit_is_left_out_of_the_request_not_of_the_conversation() -> None:
    provider = ScriptedProvider(["x"])
    history = [message for number in range(20) for message in exchange(number)]
    agent = Agent(
        provider=provider, system_message="s", config=AgentConfig(max_tokens=200, reserve_tokens=100)
    )
    result = await agent.run("the last question", messages=history)
    sent = provider.requests[0].messages

    assert (sent[0].role, sent[-1].text) == ("system", "the last question")
    assert TokenEstimator().estimate(sent) <= 100
    assert len(result.messages) == 103


async def test_the_task_of_a_long_run_stays_while_its_oldest_tool_calls_go() -> None:
    @tool(effect="read")
    async def read() -> str:
        return "word " * 100

    def reply(spec: RequestSpec) -> str | list[ToolCall]:
        assert spec.messages[0].text == "the task"
        turns.append(len(spec.messages))
        return "done" if len(turns) == 9 else [ToolCall(f"c{len(turns)}", "read", {})]

    turns: list[int] = []
    agent = Agent(
        provider=FunctionProvider(reply), tools=[read], config=AgentConfig(max_tokens=700, reserve_tokens=100)
    )
    result = await agent.run("the task")

    assert result.status == "success"
    assert max(turns) < 17


async def test_the_estimate_learns_from_real_usage() -> None:
    estimator = TokenEstimator()
    messages = [Message.user("a" * 988)]
    before = estimator.estimate(messages)
    for _ in range(20):
        estimator.learn(messages, (), model="", input_tokens=500)

    assert before == 250
    assert estimator.estimate(messages) == pytest.approx(500, rel=0.01)
    assert estimator.estimate(messages, model="another") == 250


def test_the_estimate_knows_media_by_their_size() -> None:
    estimator = TokenEstimator()
    sized = Message.user([MediaPart(media_type="image/png", data="x", width=750, height=100)])
    unsized = Message.user([MediaPart(media_type="image/png", data="x")])

    assert (estimator.estimate([sized]), estimator.estimate([unsized])) == (103, 1003)


async def test_an_old_conversation_is_summarised_once_and_extended_when_it_grows() -> None:
    summaries = ScriptedProvider(["first summary", "second summary"])
    window = Summarise(ExecutionEngine(summaries), max_tokens=2, share=0.6)
    conversation = Conversation([message for number in range(4) for message in exchange(number)])

    first = await window.fit(conversation, conversation.messages, limit=10, measure=size)
    again = await window.fit(conversation, conversation.messages, limit=10, measure=size)
    conversation.extend([message for number in range(4, 6) for message in exchange(number)])
    grown = await window.fit(conversation, conversation.messages, limit=10, measure=size)

    assert first == again
    assert first[0].text.endswith("first summary")
    assert grown[0].text.endswith("second summary")
    assert "first summary" in summaries.requests[1].messages[1].text
    assert len(first) <= 10
    assert len(grown) <= 10
    summaries.assert_complete()


async def test_an_agent_summarises_through_its_window() -> None:
    summaries = ScriptedProvider(["they talked about questions 0 to 19"])
    provider = ScriptedProvider(["x"])
    history = [message for number in range(20) for message in exchange(number)]
    agent = Agent(
        provider=provider,
        window=Summarise(ExecutionEngine(summaries), max_tokens=50),
        config=AgentConfig(max_tokens=400, reserve_tokens=100),
    )
    await agent.run("and now?", messages=history)

    assert "questions 0 to 19" in provider.requests[0].messages[0].text
    assert provider.requests[0].messages[-1].text == "and now?"


async def test_a_window_of_ones_own_is_asked() -> None:
    class KeepLast:
        async def fit(
            self, conversation: Conversation, messages: Sequence[Message], **_: object
        ) -> Sequence[Message]:
            return messages[-1:]

    provider = ScriptedProvider(["x"])
    agent = Agent(provider=provider, window=KeepLast(), config=AgentConfig(max_tokens=30, reserve_tokens=10))
    await agent.run("the last question", messages=[*exchange(1), *exchange(2)])

    assert [message.text for message in provider.requests[0].messages] == ["the last question"]


async def test_a_prompt_that_alone_is_too_long_is_sent_and_left_to_the_vendor() -> None:
    prompt = [Message.user("x" * 10_000)]

    assert await DropOldest().fit(Conversation(), prompt, limit=1, measure=size) == prompt


async def test_learned_ratios_survive_odd_usage() -> None:
    estimator = TokenEstimator()
    estimator.learn([Message.user("hello")], (), model="", input_tokens=10_000_000)
    estimator.learn([], (), model="", input_tokens=0)

    assert estimator.ratio("") >= 1
    assert Usage().total_tokens == 0


CHINESE, JAPANESE, KOREAN, RUSSIAN = (
    "今天天气很好我们去公园",
    "今日はとても良い天気です",
    "오늘은날씨가아주좋습니다",
    "сегодня хорошая погода",
)


@pytest.mark.parametrize("text", [CHINESE, JAPANESE, KOREAN, RUSSIAN])
def test_other_scripts_take_more_tokens_than_latin_letters(text: str) -> None:
    size = TokenEstimator().estimate([Message.user(text * 50)])
    assert size >= len(text) * 50 * (0.5 if text is RUSSIAN else 0.9)
    assert TokenEstimator().estimate([Message.user("a" * 400)]) <= 110


async def test_what_answers_taught_stays_with_the_conversation() -> None:
    usage = Usage(input_tokens=4_000, output_tokens=1)  # four times what such a text usually takes
    provider = ScriptedProvider(["a", "b", "c"], usage=usage)
    agent = Agent(provider=provider, config=AgentConfig(max_tokens=10_000, reserve_tokens=100))
    conversation = Conversation()
    await agent.run("x" * 4_000, conversation=conversation)
    loaded = Conversation.parse(conversation.dump())
    tight = Agent(provider=provider, config=AgentConfig(max_tokens=4_500, reserve_tokens=100))
    for talk in (conversation.fork(), loaded):
        await tight.run("y" * 1_000, conversation=talk)
        assert [message.text[:1] for message in provider.requests[-1].messages] == ["y"]


async def test_a_request_that_was_too_long_is_cut_and_asked_again_once() -> None:
    def reply(request: RequestSpec) -> str:
        if sum(len(message.text) for message in request.messages) > 6_000:
            raise ContextLengthExceeded("too long", status=400)
        return "fine"

    provider = FunctionProvider(reply)
    agent = Agent(provider=provider, system_message="s")
    conversation = Conversation()
    for number in range(5):
        conversation.extend([Message.user(f"{number}" * 1_500), Message.assistant("yes")])
    result = await agent.run("and now?", conversation=conversation)
    assert (result.status, result.content, result.turns) == ("success", "fine", 1)
    sent = provider.requests[-1].messages
    assert sent[0].role == "system"
    assert sent[-1].text == "and now?"
    assert len(provider.requests) == 2
    assert len(conversation) == 12


@pytest.mark.parametrize("prompt", ["x" * 10_000, "short"])
async def test_what_cannot_be_cut_is_not_asked_again_for_ever(prompt: str) -> None:
    def reply(request: RequestSpec) -> str:
        raise ContextLengthExceeded("too long", status=400)

    provider = FunctionProvider(reply)
    conversation = Conversation([Message.user("y" * 10_000), Message.assistant("yes")] * (prompt == "short"))
    result = await Agent(provider=provider).run(prompt, conversation=conversation)
    assert result.status == "error"
    assert isinstance(result.error, ContextLengthExceeded)
    assert len(provider.requests) == 1 + (prompt == "short")
