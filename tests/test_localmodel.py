"""The local language model's process: started, asked, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chat import localmodel
from chat.localmodel import LocalModel, default_threads, why_not
from chat.prompts import DROPPED_AT_ONCE, PROMPT_TOKENS_MAX, WISHES, fitting, in_its_language, tokens_in
from errors import EngineError
from llm import Message
from tests.fakes.app import until

FAKE = Path(__file__).parent / "fakes" / "localmodel.py"


@contextlib.asynccontextmanager
async def running(tmp_path: Path, what: str = "serve", **options: Any) -> AsyncIterator[LocalModel]:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF")
    model = LocalModel(weights, command=(sys.executable, str(FAKE), what), rest_s=0.01, **options)
    try:
        yield model
    finally:
        await model.aclose()


async def said(model: LocalModel, text: str) -> str:
    return "".join([part async for part in model.stream([{"role": "user", "content": text}])])


async def asked(model: LocalModel) -> list[Any]:
    async with model._client().get(model.base_url.removesuffix("/v1") + "/asked") as response:
        return list(await response.json())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_first_question_starts_it_and_closing_ends_it(tmp_path: Path) -> None:
    async with running(tmp_path) as model:
        assert model.pid is None and model.describe()["running"] is False
        assert await said(model, "hello") == f"You said hello\n{WISHES['en']}"
        pid = model.pid
        assert pid is not None and is_alive(pid) and model.describe()["running"] is True
    assert not is_alive(pid)
    with pytest.raises(EngineError, match="closed"):
        await said(model, "hello?")


async def test_the_prompt_is_read_ahead_and_its_cache_used(tmp_path: Path) -> None:
    async with running(tmp_path, prompt="be brief") as model:
        model.start()
        await model._ready()
        assert model._priming is not None
        await model._priming
        await said(model, "hello")
        model.prime([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}])
        await model._priming
        first, question, later = await asked(model)
    assert first["messages"][0] == {"role": "system", "content": "be brief"} and first["max_tokens"] == 1
    assert question["cache_prompt"] is True and question["stream"] is True
    assert question["max_tokens"] == localmodel.REPLY_TOKENS_MAX and later["max_tokens"] == 1


async def test_a_process_that_ends_is_told_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localmodel, "RETRY_DELAYS_S", ())  # asked again, it would end the next process too
    async with running(tmp_path) as model:
        await said(model, "hello")
        before = model.pid
        with pytest.raises(EngineError):
            await said(model, "crash")
        await until(lambda: model.pid not in (None, before) and model.describe()["running"])
        assert await said(model, "again") == f"You said again\n{WISHES['en']}"


async def test_a_process_that_answers_no_more_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localmodel, "HEALTH_EVERY_S", 0.02)
    async with running(tmp_path) as model:
        await said(model, "go deaf")
        before = model.pid
        await until(lambda: model.pid not in (None, before) and model.describe()["running"])
        assert await said(model, "again") == f"You said again\n{WISHES['en']}"


@pytest.mark.parametrize(("what", "message"), [("die", "ended with 3 while loading"), ("mumble", "an address")])
async def test_a_process_that_cannot_start_is_named(tmp_path: Path, what: str, message: str) -> None:
    async with running(tmp_path, what) as model:
        with pytest.raises(EngineError, match=message):
            await said(model, "hello")


async def test_loading_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localmodel, "LOAD_TIMEOUT_S", 0.2)
    async with running(tmp_path, "deaf") as model:
        with pytest.raises(EngineError, match=r"not loaded after 0 s"):
            await said(model, "hello")


async def test_a_stuck_process_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localmodel, "END_TIMEOUT_S", 0.05)
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF")
    script = 'import time; print(\'{"address": "http://127.0.0.1:9"}\', flush=True); time.sleep(600)'
    model = LocalModel(weights, command=(sys.executable, "-c", script))
    model.start()
    await until(lambda: model.pid)
    pid = model.pid
    assert pid is not None
    await model.aclose()
    assert not is_alive(pid)


async def test_what_is_missing_comes_with_its_command(tmp_path: Path) -> None:
    reason = why_not(tmp_path / "none.gguf", "no_such_package")
    assert reason is not None and "make chat" in reason and "weights pull qwen" in reason
    (tmp_path / "some.gguf").write_bytes(b"")
    assert why_not(tmp_path / "some.gguf", "json") is None
    model = LocalModel(tmp_path / "none.gguf", rest_s=0.01)
    with pytest.raises(EngineError, match="weights pull qwen"):
        await said(model, "hello")
    await model.aclose()


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 1), (8, 3), (64, 4)])
def test_threads_leave_cores_free(cores: int, threads: int) -> None:
    assert default_threads(cores) == threads


def talk(count: int, text: str = "word " * 60) -> list[Message]:
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"{n} {text}"} for n in range(count)]
    return [{"role": "system", "content": "be brief"}, *turns]


def test_a_long_history_fits_and_its_beginning_stays_for_some_turns() -> None:
    beginnings = []
    for count in range(1, 80, 2):
        fit = fitting(talk(count))
        assert tokens_in(fit) <= PROMPT_TOKENS_MAX
        assert fit[0]["role"] == "system" and fit[1]["role"] == "user" and fit[-1] == talk(count)[-1]
        beginnings.append(fit[1]["content"])
    assert len(set(beginnings)) <= 80 / DROPPED_AT_ONCE + 1
    huge = talk(1, "字" * 20_000)
    assert fitting(huge) == huge
    assert fitting([]) == []


def test_tokens_are_estimated_by_script() -> None:
    assert tokens_in([{"role": "user", "content": "字" * 100}]) == 78
    assert tokens_in([{"role": "user", "content": None}]) == 8


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Hello?", "Hello?\n" + WISHES["en"]),
        ("你好", "你好\n（请用中文回答。）"),
        ("Bonjour", "Bonjour\n" + WISHES["en"]),
        ("안녕하세요", "안녕하세요"),
        ("2 + 2", "2 + 2"),
    ],
)
def test_the_language_of_the_answer_is_asked_for(question: str, asked: str) -> None:
    messages = [{"role": "user", "content": question}]
    assert in_its_language(messages)[-1]["content"] == asked
    assert messages[-1]["content"] == question


def test_nobody_is_asked_for_a_language_that_is_spoken_already() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    for question, wish in (("How are you?", ""), ("你好", "\n" + WISHES["zh"])):
        assert in_its_language([*talk, {"role": "user", "content": question}])[-1]["content"] == question + wish
    assert in_its_language(talk) == talk and in_its_language([]) == []


async def test_a_cancelled_question_leaves_it_usable(tmp_path: Path) -> None:
    async with running(tmp_path) as model:
        task = asyncio.create_task(said(model, "hello"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await said(model, "again") == f"You said again\n{WISHES['en']}"
