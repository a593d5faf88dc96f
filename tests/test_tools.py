"""Tools: described, called, late, wrong; and the two samples."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
from pathlib import Path

import pytest

from chat.tools import ANSWER_CHARACTERS_MAX, CALLS_MAX, Arguments, Calls, Tool, Toolbox, ToolError
from chat.toolsamples import best, clock, entries_of, faq

NOW = datetime.datetime(2026, 11, 20, 19, 30, tzinfo=datetime.UTC)


def adder() -> Tool:
    async def run(arguments: Arguments) -> str:
        return str(arguments["a"] + arguments.get("b", 0))

    numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    return Tool("add", "Adds.", run, numbers, ("a",))


def failing(name: str, error: Exception | None = None) -> Tool:
    async def run(arguments: Arguments) -> str:
        if error is not None:
            raise error
        await asyncio.Event().wait()
        raise AssertionError

    return Tool(name, "Fails.", run)


def test_a_tool_is_described_as_openai_has_it() -> None:
    (schema,) = Toolbox([adder()]).schemas()
    assert schema["type"] == "function" and schema["function"]["name"] == "add"
    assert schema["function"]["parameters"]["required"] == ["a"]


@pytest.mark.parametrize("names", [["add", "add"], ["two words"], [""], ["é"]])
def test_names_are_checked(names: list[str]) -> None:
    with pytest.raises(ValueError, match="tool name"):
        Toolbox([Tool(name, "", adder().run) for name in names])


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("add", '{"a": 2, "b": 3, "c": "unknown"}', "5"),
        ("add", '{"a": 2, "b": null}', "2"),
        ("add", "{}", "the argument a is missing"),
        ("add", "", "the argument a is missing"),
        ("add", '{"a": "2"}', "the argument a must be of type integer"),
        ("add", '{"a": true}', "the argument a must be of type integer"),
        ("add", "{broken", "the arguments are no JSON"),
        ("add", "[1]", "must be a JSON object"),
        ("subtract", "{}", "there is no tool 'subtract'; there are: add, say_no, crash"),
        ("say_no", "{}", "not today"),
        ("crash", "{}", "crash failed: ZeroDivisionError"),
    ],
)
async def test_the_model_is_told_what_came_of_its_call(name: str, arguments: str, answer: str) -> None:
    toolbox = Toolbox([adder(), failing("say_no", ToolError("not today")), failing("crash", ZeroDivisionError())])
    assert answer in await toolbox.call(name, arguments)


async def test_a_late_tool_is_given_up() -> None:
    answer = await Toolbox([failing("slow")], timeout_s=0.01).call("slow", "{}")
    assert "did not answer within 0.01 s" in json.loads(answer)["error"]


async def test_a_long_answer_is_cut() -> None:
    async def run(arguments: Arguments) -> str:
        return "x" * 1_000_000

    assert len(await Toolbox([Tool("long", "", run)]).call("long", "")) == ANSWER_CHARACTERS_MAX


async def test_calls_are_assembled_from_deltas() -> None:
    calls = Calls()
    assert not calls
    calls.add([{"index": 0, "id": "x1", "function": {"name": "add", "arguments": ""}}])
    calls.add([{"index": 0, "function": {"arguments": '{"a":'}}, {"index": 1, "id": "x2", "function": {"name": "add"}}])
    calls.add([{"index": 0, "function": {"arguments": " 1}"}}, {"index": 1, "function": {"arguments": '{"a": 5}'}}])
    said, one, two = await calls.run(Toolbox([adder()]), "Let me see.")
    assert said["content"] == "Let me see." and said["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
    assert one == {"role": "tool", "tool_call_id": "x1", "content": "1"}
    assert two == {"role": "tool", "tool_call_id": "x2", "content": "5"}


async def test_calls_of_servers_that_number_nothing_and_parse_arguments() -> None:
    calls = Calls()
    calls.add(
        [{"function": {"name": "add", "arguments": {"a": 1}}}, {"function": {"name": "add", "arguments": '{"a"'}}]
    )
    calls.add([{"function": {"arguments": ": 2}"}}])
    messages = await calls.run(Toolbox([adder()]), "")
    assert [message["content"] for message in messages[1:]] == ["1", "2"]
    assert len({message["tool_call_id"] for message in messages[1:]}) == 2


@pytest.mark.parametrize(
    "rubbish", [None, "x", 3, [], [None], [{"function": None}], [{"function": {"arguments": "{}"}}]]
)
def test_rubbish_is_no_call(rubbish: object) -> None:
    calls = Calls()
    calls.add(rubbish)
    assert not calls


def test_the_number_of_calls_is_bounded() -> None:
    calls = Calls()
    calls.add([{"index": n, "function": {"name": "add", "arguments": "x" * 100_000}} for n in range(100)])
    assert len(calls._calls) == CALLS_MAX and len(calls._calls[0]["arguments"]) == 20_000


async def test_the_time_here_and_elsewhere() -> None:
    toolbox = Toolbox([clock(lambda: NOW)])
    assert await toolbox.call("current_time", '{"timezone": "Asia/Shanghai"}') == "Saturday 2026-11-21 03:30 CST"
    assert "2026-11-2" in await toolbox.call("current_time", "{}")
    for name in ("Mars/Crater", "../etc/passwd", "\\u0000"):
        assert "is no time zone" in await toolbox.call("current_time", f'{{"timezone": "{name}"}}')


FAQ = """Written for visitors.
# When do you open?
From nine to five, closed on Mondays.
## What does a ticket cost?
Ten euros; children are free.
# 停车场在哪里？
在大楼后面，每小时五元。
# Nothing here
"""


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("when are you open on monday", "From nine to five"),
        ("How much is a ticket?", "Ten euros"),
        ("请问停车场怎么走", "在大楼后面"),
        ("Tell me about quantum physics", None),
        ("", None),
    ],
)
def test_the_answer_that_fits_is_found(question: str, found: str | None) -> None:
    answers = best(question, entries_of(FAQ))
    assert (found in answers[0][1]) if found else not answers


async def test_the_file_of_questions_may_change(tmp_path: Path) -> None:
    path = tmp_path / "faq.md"
    toolbox = Toolbox([faq(path)])
    assert "cannot be read" in await toolbox.call("look_up", '{"question": "ticket"}')
    path.write_text(FAQ)
    assert "Ten euros" in await toolbox.call("look_up", '{"question": "ticket"}')
    path.write_text(FAQ.replace("Ten", "Twelve"))
    os.utime(path, (1, 1))
    assert "Twelve euros" in await toolbox.call("look_up", '{"question": "ticket price"}')
    assert "Nothing about that" in await toolbox.call("look_up", '{"question": "dinosaurs"}')
    path.write_bytes(b"\xff\xfe# \x00")
    os.utime(path, (2, 2))
    assert "Nothing about that" in await toolbox.call("look_up", '{"question": "ticket"}')
