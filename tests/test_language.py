"""Refusals in the reader's language: Chinese where `Accept-Language` ranks it first, English otherwise."""

from __future__ import annotations

import pytest

from errors import BadRequest, EngineError, NotFound
from server.language import prefers_chinese
from tests.fakes.app import connect, serving


@pytest.mark.parametrize(
    ("header", "chinese"),
    [
        ("", False),
        ("zh-CN,zh;q=0.9,en;q=0.8", True),
        ("zh", True),
        ("ZH-hant-TW", True),
        ("en-US,en;q=0.9,zh-CN;q=0.8", False),
        ("zh;q=0.5, en;q=0.7", False),
        ("fr, zh;q=0.4", True),
        ("zh;q=0", False),
        ("zh;q=much", False),
        ("de", False),
        ("zh," * 10_000, True),
    ],
)
def test_the_header_is_ranked(header: str, chinese: bool) -> None:
    assert prefers_chinese(header) is chinese


def test_an_error_without_chinese_words_tells_its_kind_in_chinese() -> None:
    assert NotFound("voice 'x' does not exist", "音色 'x' 不存在").chinese() == "音色 'x' 不存在"
    assert BadRequest("speed is 9").chinese() == "请求有误：speed is 9"
    assert EngineError("kokoro", "no weights").chinese() == "引擎故障：kokoro: no weights"
    assert str(NotFound("voice 'x' does not exist", "音色 'x' 不存在")) == "voice 'x' does not exist"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/human", {"type": "echo", "text": ""}, "text 不能为空"),
        ("/human", {"type": "echo"}, "缺少 text"),
        ("/human", {"type": "echo", "text": "好" * 6_000}, "text 有 6000 个字符，最多 5000 个"),
        ("/human", {"type": "echo", "text": "...!?"}, "没有可以朗读的内容"),
        ("/human", {"type": "echo", "text": "hi", "tts": {"voice": "nobody"}}, "音色 'nobody' 不存在"),
        ("/human", {"type": "echo", "text": "hi", "sessionid": "999"}, "会话 '999' 不存在或已结束"),
        ("/human", {"type": "sing", "text": "hi"}, '的值 "sing" 不合要求'),
        ("/record", {"type": "end_record"}, "没有在录制"),
        ("/nowhere", {}, "/nowhere 不存在"),
    ],
)
async def test_what_a_page_shows_is_said_in_chinese(path: str, body: dict[str, object], said: str) -> None:
    async with serving() as (client, _):
        await connect(client)
        response = await client.post(path, json=body, headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"})
        assert said in (await response.json())["msg"]
        assert response.headers["Content-Language"] == "zh"
        english = await client.post(path, json=body)
        assert (await english.json())["msg"].isascii()
        assert english.headers["Content-Language"] == "en"
        assert english.status == response.status >= 400
