"""Whose voices are whose: keys, users, what one sees of another, and the commands that make them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from config.sources import load
from errors import BadRequest, Conflict, NotFound
from tests.fakes.app import OFFER
from tests.fakes.library import CONSENT, Client, clip, made, migrated, shelves, upload
from tests.test_voice_library import data, stored
from voices import cli
from voices.people import LOCAL

OWNER = {"X-API-Key": "hush"}


async def new_user(stage: Any, name: str) -> str:
    """Their key."""
    key: str = await (await stage.library.opened()).accounts.add(name)
    return key


async def of(client: Client, key: str, path: str) -> tuple[int, dict[str, Any]]:
    response = await client.get(path, headers={"X-API-Key": key})
    body = await response.json()
    return response.status, body["data"] if body["success"] else body["error"]


async def test_one_user_never_sees_anothers_voices(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, stage):
        ada, bob = await new_user(stage, "Ada"), await new_user(stage, "Bob")
        hers = await made(client, 0, key=ada, name="her own")
        shown = await made(client, 1, key=ada, name="for all", public=True)
        voice_id, job_id = hers["voiceId"], hers["jobId"]
        _, mine = await of(client, ada, f"/api/voices/{voice_id}")
        generated = await client.post(
            "/api/tts/generate", json={"voiceId": voice_id, "input": "Hello."}, headers={"X-API-Key": ada}
        )
        request_id = (await generated.json())["data"]["requestId"]
        for key in (bob, "hush"):
            _, listed = await of(client, key, "/api/voices")
            assert [voice["name"] for voice in listed["voices"]] == ["for all"]
            assert listed["voices"][0]["owner"] == "Ada" and not listed["voices"][0]["mine"]
            for path in (
                f"/api/voices/{voice_id}", f"/api/voices/{voice_id}/similar", f"/api/voices/{voice_id}/sample",
                f"/api/files/{mine['fileId']}", f"/api/files/{mine['fileId']}/content", f"/api/voices/jobs/{job_id}",
                f"/api/voices/jobs/{job_id}/events", f"/api/tts/{request_id}", f"/api/tts/{request_id}/audio",
            ):  # fmt: skip
                assert (await of(client, key, path))[0] == 404, path
            headers = {"X-API-Key": key}
            for method, path in (
                ("DELETE", f"/api/voices/{voice_id}"), ("DELETE", f"/api/files/{mine['fileId']}"),
                ("DELETE", f"/api/tts/{request_id}"), ("POST", f"/api/voices/jobs/{job_id}/retry"),
                ("DELETE", f"/api/voices/{shown['voiceId']}"),
            ):  # fmt: skip
                assert (await client.request(method, path, headers=headers)).status == 404, path
            for body in ({"voiceId": voice_id, "input": "x y"}, {"fileId": mine["fileId"], "consent": CONSENT}):
                path = "/api/tts/generate" if "input" in body else "/api/voices"
                assert (await client.post(path, json=body, headers=headers)).status == 404
            assert (
                await client.put(f"/api/voices/{shown['voiceId']}", json={"name": "x"}, headers=headers)
            ).status == 404
            speech = {"model": "tts-1", "voice": voice_id, "input": "Hello."}
            assert (await client.post("/v1/audio/speech", json=speech, headers=headers)).status == 404
            assert (await of(client, key, "/api/tts/history"))[1]["total"] == 0
            assert (await of(client, key, "/api/tts/usage"))[1]["calls"] == 0
            assert (await of(client, key, "/api/account"))[1]["voices"] == 0


async def test_of_a_public_voice_others_see_neither_recording_nor_consent(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, stage):
        ada = await new_user(stage, "Ada")
        voice = await made(client, key=ada, public=True, text="what is said")
        status, seen = await of(client, "hush", f"/api/voices/{voice['voiceId']}")
        assert status == 200 and seen["fileId"] == seen["text"] == "" and seen["consent"] is None
        assert seen["sample_url"] and (await client.get("/" + seen["sample_url"])).status == 200
        asked = {"voiceId": voice["voiceId"], "input": "Hello from another."}
        assert (await client.post("/api/tts/generate", json=asked, headers=OWNER)).status == 201
        await client.put(f"/api/voices/{voice['voiceId']}", json={"public": False}, headers={"X-API-Key": ada})
        assert (await of(client, "hush", f"/api/voices/{voice['voiceId']}"))[0] == 404


async def test_the_same_recording_of_two_users_is_two_voices(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, stage):
        keys = [await new_user(stage, "Ada"), await new_user(stage, "Bob")]
        voices = [await made(client, key=key) for key in keys]
        assert voices[0]["voiceId"] != voices[1]["voiceId"] and not voices[1]["duplicated"]


async def test_keys_of_users_open_what_is_theirs_and_no_more(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, stage):
        ada = await new_user(stage, "Ada")
        for headers in ({"X-API-Key": ada}, {"Authorization": f"Bearer {ada}"}):
            assert (await client.post("/offer", json=OFFER, headers=headers)).status == 200
            assert (await (await client.get("/api/account", headers=headers)).json())["data"]["name"] == "Ada"
            for path in ("/api/admin/config", "/api/admin/sessions", "/metrics"):
                assert (await client.get(path, headers=headers)).status == 403
        assert (await client.get("/api/admin/config", headers=OWNER)).status == 200
        for key in ("", "vk-" + "x" * 43, "vk-", ada[:-1], ada + "x", "HUSH"):
            assert (await client.get("/api/voices", headers={"X-API-Key": key})).status == 401


async def test_a_server_without_a_key_has_one_local_user_and_knows_others_by_theirs(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        assert (await data(client, "/api/account"))["userId"] == LOCAL.id
        ada = await new_user(stage, "Ada")
        assert (await of(client, ada, "/api/account"))[1]["name"] == "Ada"
        assert (await of(client, "nonsense", "/api/account"))[1]["owner"]


async def test_signed_addresses_open_one_file_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, _):
        _, body = await upload(client, clip(), **OWNER)
        url, original = "/" + body["data"]["url"], "/" + body["data"]["original_url"]
        assert (await client.get(url)).status == 200 and (await client.get(original)).status == 200
        bare = url.partition("?")[0]
        assert (await client.get(bare)).status == 401 and (await client.get(bare, headers=OWNER)).status == 200
        assert (await client.get(f"{bare}?api_key=hush")).status == 200
        for forged in (
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.replace("expires=1", "expires=2"),
            url + "&variant=original",
            original.replace("variant=original&", ""),
            f"{bare}?expires=99999999999&signature=" + "0" * 40,
        ):
            assert (await client.get(forged)).status == 401, forged
        monkeypatch.setattr("time.time", lambda: 4e9)
        refused = await client.get(url)
        assert refused.status == 401 and "older than an hour" in (await refused.json())["message"]


async def test_the_accounts_themselves(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (_, stage):
        accounts = (await stage.library.opened()).accounts
        key = await accounts.add("Ada", "ada@example.org")
        assert key.startswith("vk-") and len(key) > 40
        assert (await accounts.by_key(key)) is not None and await accounts.by_key(key + "x") is None
        for name, email in (("Ada", ""), ("Eve", "ada@example.org")):
            with pytest.raises(Conflict):
                await accounts.add(name, email)
        for name in ("", "a/b", "x" * 81, "new\nline"):
            with pytest.raises(BadRequest):
                await accounts.add(name)
        renewed = await accounts.renew("Ada")
        assert await accounts.by_key(key) is None and await accounts.by_key(renewed) is not None
        for name in ("Nobody", "owner"):
            with pytest.raises(NotFound):
                await accounts.renew(name)
    raw = (tmp_path / "library.db").read_bytes()  # the library is closed: all is in it
    assert key.encode() not in raw and renewed.encode() not in raw, "only hashes are kept"


def test_commands_add_list_and_remove_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    migrated(tmp_path)
    assert cli.users(["add", "张伟"], tmp_path) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("vk-")
    assert cli.users(["key", "张伟"], tmp_path) == 0 and capsys.readouterr().out.strip() != key
    assert cli.users(["list"], tmp_path) == 0
    assert [line.split()[0::2] for line in capsys.readouterr().out.splitlines()] == [
        ["owner", "owner"],
        ["user", "张伟"],
    ]
    with pytest.raises(Conflict, match="owner"):
        cli.users(["remove", "owner"], tmp_path)
    assert cli.users(["remove", "张伟"], tmp_path) == 0
    with pytest.raises(NotFound, match="no user"):
        cli.users(["remove", "张伟"], tmp_path)
    assert cli.voices(["migrate"], tmp_path) == 0 and cli.voices(["tidy"], tmp_path) == 0
    with pytest.raises(NotFound, match="no voice library"):
        cli.users(["list", "--library", "off"], tmp_path)
    assert load([], directory=tmp_path).library == "on"


async def test_removing_a_user_removes_all_that_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, stage):
        ada = await new_user(stage, "Ada")
        voice = await made(client, key=ada, public=True)
        asked = {"voiceId": voice["voiceId"], "input": "Hello from another."}
        await client.post("/api/tts/generate", json=asked, headers=OWNER)
        await client.post("/api/tts/generate", json=asked, headers={"X-API-Key": ada})
        kept = await made(client, 1, key="hush")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Conflict, match="--yes"):
        await asyncio.to_thread(cli.users, ["remove", "Ada"], tmp_path)
    assert await asyncio.to_thread(cli.users, ["remove", "Ada", "--yes"], tmp_path) == 0
    async with shelves(tmp_path, api_key="hush") as (client, _):
        assert (await of(client, ada, "/api/account"))[0] == 401
        _, listed = await of(client, "hush", "/api/voices")
        assert [one["voiceId"] for one in listed["voices"]] == [kept["voiceId"]]
        assert (await of(client, "hush", "/api/tts/history"))[1]["total"] == 0
        assert len(stored(tmp_path)) == 3
