"""Every route answers in LiveTalking's shape against a scripted session."""

from __future__ import annotations

from tests.fakes.app import connect, serving


async def test_offer_answers_at_top_level() -> None:
    async with serving() as (client, stage):
        response = await client.post("/offer", json={"sdp": "v=0\nm=audio 9 x 1\n", "type": "offer"})
        body = await response.json()
        assert body["type"] == "answer" and body["sdp"] and body["code"] == 0
        assert body["sessionid"].isdecimal() and len(body["sessionid"]) <= 15 and body["sessionid"][0] != "0"
        assert list(stage.reals) == [body["sessionid"]]


async def test_all_routes_answer() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        requests: dict[str, dict[str, object]] = {
            "/human": {"type": "echo", "text": "hello"},
            "/interrupt_talk": {},
            "/is_speaking": {},
            "/set_audiotype": {"audiotype": 2},
            "/record": {"type": "start_record"},
        }
        for path, body in requests.items():
            response = await client.post(path, json={"sessionid": int(sid), **body})
            answer = await response.json()
            assert (response.status, answer["code"], answer["msg"]) == (200, 0, "ok"), answer
        for path in (
            "/api/avatars", "/api/voices", "/api/client", "/api/admin/config", "/api/admin/sessions",
            "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/",
        ):  # fmt: skip
            response = await client.get(path)
            assert response.status == 200, path
        assert stage.reals[sid].said[0].text == "hello"
