"""The wiring of the real rooms: what is configured wrongly is refused at the start, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar import list_avatars
from config import ConfigError, Settings
from errors import NotFound
from house.face import AVATARS, FaceHouse
from sessions.session import Wish


async def refusal(error: type[Exception], words: str, **settings: object) -> None:
    house = FaceHouse(Settings.model_validate({"tts": ["espeak"], **settings}))
    try:
        with pytest.raises(error, match=words):
            await house.start()
    finally:
        await house.aclose()


async def test_a_default_voice_that_no_engine_has() -> None:
    await refusal(ConfigError, "REF_FILE 'nobody' is no voice of espeak", ref_file="nobody")


async def test_a_default_avatar_that_is_not_there() -> None:
    await refusal(NotFound, "avatar nobody does not exist; there are", avatar_id="nobody")


async def test_custom_actions_that_cannot_be_read(tmp_path: Path) -> None:
    await refusal(ConfigError, "No such file", customvideo_config=str(tmp_path / "none.json"))
    (tmp_path / "a.json").write_text("{}")
    await refusal(ConfigError, "must be a JSON list", customvideo_config=str(tmp_path / "a.json"))


async def test_a_session_of_the_real_rooms_is_built_and_freed() -> None:
    house = FaceHouse(Settings(tts=("espeak",)))
    try:
        assert house.not_ready() is not None
        await house.start()
        assert house.not_ready() is None
        assert [card.id for card in house.cards()] == [info.id for info in list_avatars(AVATARS)]
        closed: list[bool] = []
        built = await house.build("123", Wish(), lambda: closed.append(True))
        assert built.audiotypes == (0,) and built.peer.state == "new" and not built.real.speaking
        assert set(built.peer.stats()) >= {"fps", "codec"}
        await built.peer.aclose()
        await built.real.aclose()
        assert closed == [True]
        again = await house.build("124", Wish(avatar=built.avatar_id), lambda: None)
        await again.peer.aclose()
        await again.real.aclose()
        assert set(house.describe()) == {"lips", "scheduler", "speech"}
        assert house.figures()["lip_failures_total"] == 0
    finally:
        await house.aclose()


async def test_a_session_may_name_a_voice_that_is_not_listed() -> None:
    options = {"gpt-sovits": {"ref_file": "anna.wav"}}
    house = FaceHouse(Settings.model_validate({"tts": ["gpt-sovits", "espeak"], "tts_options": options}))
    try:
        assert [voice.id for voice in house.voices()][0] == "gpt-sovits:anna"
        found = house.find_voice("refs/ben.wav")
        assert found is not None and found.id == "gpt-sovits:refs/ben.wav"
        assert house.find_voice("/etc/passwd") is None
    finally:
        await house.chain.aclose()
