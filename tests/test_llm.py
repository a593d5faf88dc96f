"""The language model: streamed, retried, cancelled; the history holds what was heard and no more."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

import llm
from chat.tools import Arguments, Tool, Toolbox
from errors import EngineError
from llm import Conversation, Heard, LanguageModel, Thinking
from media import Event
from tests.fakes.app import connect, serving, until
from tests.fakes.llm import FakeLlm, Step, delta, talking, tool_call

DONE = b"data: [DONE]\n\n"
HELLO = [{"role": "user", "content": "hello"}]


async def said(model: LanguageModel) -> list[str]:
    return [text async for text in model.stream(HELLO)]


async def test_text_comes_as_it_is_written() -> None:
    fake = FakeLlm(["Hel", "lo 你", "好", DONE, delta("after the end")])
    async with talking(fake, api_key="k") as model:
        assert await said(model) == ["Hel", "lo 你", "好"]
    assert fake.requests == [{"model": "scripted", "messages": HELLO, "stream": True}]
    assert fake.headers[0]["Authorization"] == "Bearer k"


async def test_a_character_cut_in_two_by_the_network_arrives_whole() -> None:
    data = "data: " + json.dumps({"choices": [{"delta": {"content": "你好"}}]}, ensure_ascii=False) + "\n\n"
    raw = data.encode()
    cut = raw.index("你".encode()) + 1
    async with talking(FakeLlm([raw[:cut], raw[cut:], DONE])) as model:
        assert "".join(await said(model)) == "你好"


async def test_what_other_servers_send_beside_text_is_passed_over() -> None:
    noise: list[Step] = [
        b": comment\n\n",
        b'data: {"choices": []}\n\n',
        b'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}\n\n',
        b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n',
        b'event: x\ndata: {"choices": [{"delta": {"content": "ok"}}]}\r\n\r\n',
        b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n',
    ]
    async with talking(FakeLlm(noise)) as model:
        assert await said(model) == ["ok"]


async def test_a_server_that_does_not_stream_is_understood() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "whole"}}]}
    async with talking(FakeLlm(lambda: web.json_response(body))) as model:
        assert await said(model) == ["whole"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_failure_is_tried_again(status: int) -> None:
    fake = FakeLlm(status, ["ok", DONE])
    async with talking(fake) as model:
        assert await said(model) == ["ok"]
    assert len(fake.requests) == 2


@pytest.mark.parametrize(("status", "tries", "retryable"), [(401, 1, False), (404, 1, False), (503, 2, True)])
async def test_a_lasting_failure_says_what_it_was(status: int, tries: int, retryable: bool) -> None:
    fake = FakeLlm(status)
    async with talking(fake) as model:
        with pytest.raises(EngineError, match=f"answered {status}: scripted failure") as raised:
            await said(model)
    assert raised.value.retryable is retryable and len(fake.requests) == tries


async def test_a_reply_that_breaks_off_is_not_said_twice() -> None:
    fake = FakeLlm(["Once upon", b'data: {"error": {"message": "out of memory"}}\n\n'], ["again", DONE])
    async with talking(fake) as model:
        with pytest.raises(EngineError, match="out of memory"):
            await said(model)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("raw", [b"data: {broken\n\n", b"data: " + b"x" * 3_000_000 + b"\n\n"])
async def test_nonsense_is_an_engine_error(raw: bytes) -> None:
    async with talking(FakeLlm([raw])) as model:
        with pytest.raises(EngineError):
            await said(model)


async def test_no_server_at_all() -> None:
    model = LanguageModel("http://127.0.0.1:1/v1", "m", retry_delays_s=())
    with pytest.raises(EngineError, match="127.0.0.1:1"):
        await said(model)
    await model.aclose()


async def test_a_server_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "NEXT_TOKEN_TIMEOUT_S", 0.05)
    async with talking(FakeLlm(["one", asyncio.Event()])) as model:
        with pytest.raises(EngineError, match="did not answer in time"):
            await said(model)


async def test_closing_the_stream_hangs_up() -> None:
    fake = FakeLlm(["one", asyncio.Event()])
    async with talking(fake) as model:
        texts = model.stream(HELLO)
        assert await anext(texts) == "one"
        await texts.aclose()
        await asyncio.wait_for(fake.hung_up.wait(), 5)


def doubling() -> Toolbox:
    async def run(arguments: Arguments) -> str:
        return str(2 * arguments["n"])

    return Toolbox([Tool("double", "Doubles.", run, {"n": {"type": "integer"}}, ("n",))])


async def test_tools_are_called_and_their_answers_used() -> None:
    calls: list[Step] = [*tool_call("double", '{"n": 21}'), *tool_call("double", '{"n": 1}', 1)]
    fake = FakeLlm(["Let me see.", *calls, DONE], ["It is 42."])
    async with talking(fake, tools=doubling()) as model:
        assert await said(model) == ["Let me see.", "\n", "It is 42."]
    assert [tool["function"]["name"] for tool in fake.requests[0]["tools"]] == ["double"]
    question, call, one, two = fake.requests[1]["messages"]
    assert question == HELLO[0] and call["content"] == "Let me see."
    assert [c["function"] for c in call["tool_calls"]] == [
        {"name": "double", "arguments": '{"n": 21}'},
        {"name": "double", "arguments": '{"n": 1}'},
    ]
    assert (one["tool_call_id"], one["content"], two["content"]) == ("call_double_0", "42", "2")
    assert len(HELLO) == 1


async def test_a_model_that_only_calls_is_made_to_answer() -> None:
    fake = FakeLlm([*tool_call("double", "{}"), DONE])
    async with talking(fake, tools=doubling()) as model:
        assert await said(model) == []
    assert len(fake.requests) == llm.TOOL_ROUNDS_MAX + 1
    assert [body.get("tool_choice") for body in fake.requests] == [None] * llm.TOOL_ROUNDS_MAX + ["none"]
    assert "the argument n is missing" in fake.requests[1]["messages"][-1]["content"]


async def test_a_failed_attempt_leaves_no_calls_behind() -> None:
    broken: list[Step] = [*tool_call("double", '{"n": 1}'), b"data: {broken\n\n"]
    async with talking(FakeLlm(broken, ["fine", DONE]), tools=doubling()) as model:
        assert await said(model) == ["fine"]


async def test_calls_of_a_server_that_does_not_stream() -> None:
    message = {"content": None, "tool_calls": [{"id": "a", "function": {"name": "double", "arguments": '{"n": 4}'}}]}
    fake = FakeLlm(lambda: web.json_response({"choices": [{"message": message}]}), ["8"])
    async with talking(fake, tools=doubling()) as model:
        assert await said(model) == ["8"]
    assert fake.requests[1]["messages"][-1] == {"role": "tool", "tool_call_id": "a", "content": "8"}


async def test_calls_nobody_offered_are_no_reply() -> None:
    async with talking(FakeLlm(["a", *tool_call("double", "{}"), DONE])) as model:
        assert await said(model) == ["a"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (401, "answered 401.*check --llm_api_key"),
        (404, "answered 404.*check --llm_base_url and --llm_model"),
        (429, "answered 429.*credit"),
        (500, "answered 500: scripted failure$"),
        ([DONE], "a reply without a word$"),
        (
            [b'data: {"choices": [{"delta": {}, "finish_reason": "content_filter"}]}\n\n'],
            r"without a word \(content_filter",
        ),
        ([b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'], "the prompt is longer"),
        ([b"<html>\n"], "a reply without a word"),
        ([b'data: [1, "x"]\n\n', b'data: {"choices": "x"}\n\n', b'data: {"choices": [3]}\n\n'], "without a word"),
        ([b"data: \xff\xfe\n\n"], "127.0.0.1"),
        (lambda: web.Response(text="<html>login</html>", content_type="text/html"), "text/html, which is no reply"),
        (lambda: web.json_response({"detail": "hm"}), "without a word"),
        (
            lambda: web.json_response({"error": {"message": "no such model"}}, status=400),
            "answered 400: no such model$",
        ),
        (lambda: web.json_response({"error": "plain"}, status=400), "answered 400: plain$"),
        (lambda: web.json_response([1], status=400), r"answered 400: \[1\]$"),
    ],
)
async def test_what_is_no_reply_is_named(script: Any, message: str) -> None:
    async with talking(FakeLlm(script)) as model:
        with pytest.raises(EngineError, match=message):
            await said(model)


async def test_a_reply_cut_by_the_network_is_told() -> None:
    def cut(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.abort()

    fake = FakeLlm(["Once upon a time", cut])
    async with talking(fake) as model:
        texts: list[str] = []
        with pytest.raises(EngineError, match="127.0.0.1"):
            async for text in model.stream(HELLO):
                texts.append(text)
    assert texts == ["Once upon a time"] and len(fake.requests) == 1


async def test_a_model_may_think_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "FIRST_TOKEN_TIMEOUT_S", 0.2)
    done = asyncio.Event()
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n'
    asyncio.get_running_loop().call_later(0.4, done.set)
    async with talking(FakeLlm([thought, done, "Yes", DONE])) as model:
        assert await said(model) == ["Yes"]


TAG_PARTS = ["<think>", "</think>", "<", "think", ">", "a", "好", "</", " "]


@given(st.lists(st.sampled_from(TAG_PARTS), max_size=12), st.data())
def test_thinking_is_cut_the_same_however_the_text_is_split(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    whole = Thinking()
    expected = whole.feed(text) + whole.flush()
    cut = data.draw(st.integers(0, len(text)))
    pieces = Thinking()
    assert pieces.feed(text[:cut]) + pieces.feed(text[cut:]) + pieces.flush() == expected
    if "<" not in text:
        assert expected == text


def test_thinking_is_not_spoken() -> None:
    thinking = Thinking()
    spoken = "".join(map(thinking.feed, ["<th", "ink>let me ", "see</thi", "nk>Yes", ". 1 <", " 2"])) + thinking.flush()
    assert spoken == "Yes. 1 < 2"


def test_history_begins_with_the_prompt_and_stays_bounded() -> None:
    conversation = Conversation("be brief")
    for n in range(100):
        sent = conversation.ask(f"question {n}")
        conversation.answer(f"answer {n}")
    assert sent[0] == {"role": "system", "content": "be brief"} and sent[-1]["content"] == "question 99"
    assert len(conversation.messages) in (llm.HISTORY_MESSAGES_MAX, llm.HISTORY_MESSAGES_MAX - 1)
    assert conversation.messages[0]["role"] == "user"
    conversation.ask("x" * 30_000)
    assert [m["content"] for m in conversation.messages] == ["x" * 30_000]


def test_turns_alternate_even_when_nothing_of_a_reply_was_heard() -> None:
    conversation = Conversation()
    conversation.ask("one")
    conversation.answer("")
    conversation.ask("two")
    conversation.answer("heard")
    sent = conversation.ask("three")
    assert [(m["role"], m["content"]) for m in sent[1:]] == [
        ("user", "one\ntwo"),
        ("assistant", "heard"),
        ("user", "three"),
    ]


def test_the_built_in_prompt_speaks_both_languages() -> None:
    prompt = Conversation().ask("hi")[0]["content"]
    assert "spoken aloud" in prompt and "读出来" in prompt


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_reply_heard_to_its_end_is_kept_whole() -> None:
    heard = Heard(3)
    heard(Event("clause.started", 3, {"text": "Good morning,"}), 1)
    heard(Event("clause.started", 3, {"text": "how are you?"}), 2)
    heard(Event("speech.ended", 3), 3)
    assert heard.text() == "Good morning, how are you?"


def test_chinese_clauses_are_joined_without_a_space() -> None:
    heard = Heard(0)
    for text in ("早上好，", "你好吗？"):
        heard(Event("clause.started", 0, {"text": text}), 1)
    heard(Event("speech.ended", 0), 2)
    assert heard.text() == "早上好，你好吗？"


def test_an_interruption_keeps_the_words_that_were_heard() -> None:
    heard = Heard(0)
    heard(Event("clause.started", 0, {"text": "The answer is the one I gave."}), 1)
    for word in ("The", "answer", "is", "the"):
        heard(Event("word", 0, {"text": word}), 1.1)
    heard(Event("interrupted", 1), 1.2)
    heard(Event("word", 0, {"text": "one"}), 1.3)
    assert heard.text() == "The answer is the"


def test_without_words_the_share_of_a_clause_goes_by_time() -> None:
    clock = Clock()
    heard = Heard(0, clock)
    heard(Event("clause.started", 0, {"text": "今天天气很好我们去公园走走"}), 100.0)
    heard(Event("interrupted", 1), 101.0)
    clock.now = 200.0
    assert heard.text() == "今天天气"


def test_events_of_other_turns_are_not_ours() -> None:
    heard = Heard(2)
    heard(Event("clause.started", 1, {"text": "old"}), 1)
    heard(Event("clause.started", 3, {"text": "new"}), 1)
    assert heard.text() == ""


async def test_a_question_is_answered_as_it_is_written_and_remembered() -> None:
    fake = FakeLlm(["I am quite well today, ", "thank you very much for asking. ", "And how are you?", DONE])
    async with talking(fake) as model, serving(model) as (client, stage):
        sid = await connect(client)
        body = {"sessionid": sid, "type": "chat", "text": "How are you?", "tts": {"voice": "hibari:en"}}
        response = await client.post("/human", json=body)
        assert response.status == 200
        real, session = stage.reals[sid], stage.services.sessions.get(sid)
        await until(lambda: not session._chats)
        spoken = [entry.text for entry in real.said]
        assert len(spoken) >= 2 and "thank you" in " ".join(spoken)
        assert {(entry.voice, entry.turn) for entry in real.said} == {("hibari:en", 0)}
        assert [m["role"] for m in fake.requests[0]["messages"]] == ["system", "user"]


async def test_an_interruption_stops_the_model_and_keeps_what_was_heard() -> None:
    fake = FakeLlm(["First comes the long beginning of it. ", asyncio.Event(), "never said"], ["ok.", DONE])
    async with talking(fake) as model, serving(model) as (client, stage):
        sid = await connect(client)
        await client.post("/human", json={"type": "chat", "text": "Tell me."})
        real, session = stage.reals[sid], stage.services.sessions.get(sid)
        await until(lambda: real.said)
        real.hear("clause.started", text=real.said[0].text)
        real.hear("word", text="First")
        real.hear("word", text="comes")
        assert (await client.post("/interrupt_talk", json={})).status == 200
        await asyncio.wait_for(fake.hung_up.wait(), 5)
        await until(lambda: not session._chats)
        assert session.conversation.messages[-1] == {"role": "assistant", "content": "First comes"}
        assert "never" not in str(real.said)
        await client.post("/human", json={"type": "chat", "text": "Go on."})
        await until(lambda: len(fake.requests) == 2)
        assert [m["content"] for m in fake.requests[1]["messages"][1:]] == ["Tell me.", "First comes", "Go on."]


async def test_a_model_that_fails_is_told_to_the_page() -> None:
    fake = FakeLlm(401)
    async with talking(fake) as model, serving(model) as (client, stage):
        sid = await connect(client)
        events: list[Event] = []
        stage.reals[sid].events.subscribe(lambda event, at: events.append(event))
        await client.post("/human", json={"type": "chat", "text": "Hello?"})
        await until(lambda: events)
        assert events[0].name == "error" and "answered 401" in events[0].data["message"]
        assert (await client.post("/human", json={"type": "echo", "text": "still here"})).status == 200


async def test_what_is_spoken_has_no_marks_and_what_is_shown_keeps_them() -> None:
    reply: list[Step] = ["<think>hm</think>", "See **the", "** [guide](http", "://a.b/c), `x", "` 👍. ", "Bye!", DONE]
    async with talking(FakeLlm(reply)) as model, serving(model) as (client, stage):
        sid = await connect(client)
        events: list[Event] = []
        stage.reals[sid].events.subscribe(lambda event, at: events.append(event))
        await client.post("/human", json={"type": "chat", "text": "Hello?"})
        await until(lambda: any(event.name == "reply.ended" for event in events))
        await until(lambda: not stage.reals[sid].speaking)
        assert "".join(entry.text for entry in stage.reals[sid].said) == "See the guide, x . Bye!"
        shown = "".join(event.data["text"] for event in events if event.name == "reply.text")
        assert shown == "See **the** [guide](http://a.b/c), `x` 👍. Bye!"
        names = [event.name for event in events]
        assert names[0] == "reply.started" and names.count("reply.started") == names.count("reply.ended") == 1


def test_a_persona_follows_the_system_prompt() -> None:
    assert Conversation("be brief", "You are Mira.").ask("hi")[0]["content"] == "be brief\n\nYou are Mira."
    assert Conversation("", "You are Mira.").ask("hi")[0]["content"].startswith(llm.SYSTEM_PROMPT)


def test_asking_leaves_no_trace() -> None:
    conversation = Conversation()
    conversation.ask("one")
    assert conversation.asking("two")[-1]["content"] == "one\ntwo"
    assert [message["content"] for message in conversation.messages] == ["one"]
