"""What each engine asks its server for, and what is peculiar to one protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from errors import EngineError
from tests.conformance import grpcservers, httpservers, socketservers
from tests.conformance.protocols import KEYS, RECORDING, REFERENCE, SAID, engine
from tests.conformance.script import KEY, RATE_HZ, Script, tone
from tts.azure import AzureVoice
from tts.base import Sound
from tts.chain import Chain
from tts.cosyvoice import CosyVoice, CosyVoiceGrpc
from tts.doubao import DoubaoVoice
from tts.doubaov3 import DoubaoV3Voice
from tts.fishspeech import FishVoice
from tts.gptsovits import SovitsVoice
from tts.indextts2 import IndexVoice
from tts.openai import OmniVoice, OpenAiVoice
from tts.qwen import QwenVoice
from tts.remote import RemoteEngine, SpeechProcess
from tts.sparktts import SparkVoice
from tts.stepaudio import StepAudioVoice
from tts.stepfun import StepFunSocket, StepFunVoice
from tts.tencent import TencentVoice, signature
from tts.wire.options import Common, checked
from tts.xtts import XttsVoice

HELLO = "你好，世界。"
PROMPT_OF_V3 = "You are a helpful assistant.<|endofprompt|>"


@contextlib.asynccontextmanager
async def over(
    routes: Any, kind: Any, path: str = "", pace: str = "balanced", **options: Any
) -> AsyncIterator[tuple[Any, Script]]:
    """An engine and the script of its HTTP or WebSocket server."""
    script = Script()
    async with httpservers.served(*routes(script)) as address:
        given = checked(kind.Options, kind.name, {"server": address + path, **options})
        made = kind(given, Common(keys=KEYS, mode=pace))
        try:
            yield made, script
        finally:
            await made.aclose()


async def say(made: Any, text: str = HELLO, language: str = "zh", voice: str = "", **how: Any) -> list[Sound]:
    chosen = Chain([made]).find_voice(voice) if voice else made.voices()[0]
    assert chosen is not None, voice
    return [sound async for sound in made.speak(text, chosen, language, **how)]


def some(facts: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: facts.get(name) for name in names}


async def test_openai_fields_and_voices() -> None:
    async with over(httpservers.openai, OpenAiVoice, instructions="calm", extra={"lang_code": "z"}) as (made, script):
        assert [voice.id for voice in made.voices()] == ["openai:alloy"]
        await made.warm_up()
        voices = {voice.id: (voice.languages[0], voice.gender) for voice in made.voices()}
        assert voices == {
            "openai:af_heart": ("en", "female"),
            "openai:zf_xiaobei": ("zh", "female"),
            "openai:am_adam": ("en", "male"),
        }
        assert Chain([made]).candidates("zh", None)[0][1].id == "openai:zf_xiaobei"
        await say(made, voice="af_heart(2)+am_adam", speed=9.0)
        assert script.asked == [{
            "model": "kokoro", "input": HELLO, "text": HELLO, "voice": "af_heart(2)+am_adam", "response_format": "pcm",
            "speed": 4.0, "instructions": "calm", "lang_code": "z", "key": f"Bearer {KEY}",
        }]  # fmt: skip
        for unknown in ("nobody", "af_heart+nobody", "../x"):
            assert Chain([made]).find_voice(unknown) is None


async def test_openais_own_key_goes_to_openai_only() -> None:
    keys = {"OPENAI_API_KEY": "sk-own"}
    elsewhere = OpenAiVoice(None, Common(keys=keys))
    own = OpenAiVoice(
        checked(OpenAiVoice.Options, "openai", {"server": "https://api.openai.com/v1"}), Common(keys=keys)
    )
    assert elsewhere._headers == {} and own._headers == {"Authorization": "Bearer sk-own"}
    assert own._url("speech") == "https://api.openai.com/v1/audio/speech"
    assert elsewhere._url("voices") == "http://127.0.0.1:8880/v1/audio/voices"


async def test_omnitts_is_streamed_in_a_named_language() -> None:
    async with over(httpservers.openai, OmniVoice, ref_file="vivian") as (made, script):
        await say(made)
        assert some(script.asked[0], "model", "voice", "stream", "task_type", "language", "response_format") == {
            "model": None, "voice": "vivian", "stream": True, "task_type": "CustomVoice", "language": "Chinese",
            "response_format": "pcm",
        }  # fmt: skip


@pytest.mark.parametrize(("mode", "streaming"), [("fast", 3), ("balanced", 2), ("quality", 1)])
async def test_gpt_sovits_fields(mode: str, streaming: int) -> None:
    async with over(httpservers.gptsovits, SovitsVoice, pace=mode, ref_file="anna.wav", ref_text=SAID) as (
        made,
        script,
    ):
        await say(made, speed=1.2)
        await say(made, "Hi there.", "fr", voice="refs/ben.wav", ref_text="你好")
        assert some(script.asked[0], "text_lang", "ref_audio_path", "prompt_text", "prompt_lang", "media_type") == {
            "text_lang": "zh", "ref_audio_path": "anna.wav", "prompt_text": SAID, "prompt_lang": "en",
            "media_type": "wav",
        }  # fmt: skip
        assert script.asked[0]["streaming_mode"] == streaming and script.asked[0]["speed_factor"] == 1.2
        assert some(script.asked[1], "text_lang", "ref_audio_path") == {
            "text_lang": "auto",
            "ref_audio_path": "refs/ben.wav",
        }


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (REFERENCE, {"mode": "zero_shot", "prompt_text": SAID, "tts_text": HELLO}),
        ({"ref_file": str(RECORDING)}, {"mode": "cross_lingual", "tts_text": HELLO}),
        ({**REFERENCE, "version": 3}, {"mode": "zero_shot", "prompt_text": f"{PROMPT_OF_V3}{SAID}"}),
        (
            {"ref_file": str(RECORDING), "version": 3},
            {"mode": "cross_lingual", "tts_text": f"{PROMPT_OF_V3}{HELLO}"},
        ),
        (
            {**REFERENCE, "mode": "instruct2", "instruct": "用四川话说"},
            {"mode": "instruct2", "instruct_text": "用四川话说"},
        ),
        ({"mode": "sft", "ref_file": "中文男"}, {"mode": "sft", "spk_id": "中文男"}),
        ({"mode": "sft"}, {"mode": "sft", "spk_id": "中文女"}),
        ({"mode": "instruct", "instruct": "happy"}, {"mode": "instruct", "spk_id": "中文女", "instruct_text": "happy"}),
    ],
)  # fmt: skip
async def test_cosyvoice_modes(options: dict[str, Any], asked: dict[str, str]) -> None:
    async with over(httpservers.cosyvoice, CosyVoice, **options) as (made, script):
        await say(made)
        assert some(script.asked[0], *asked) == asked
        sent = script.asked[0].get("prompt_wav")
        assert (sent == RECORDING.read_bytes()) if made.imitates else sent is None


async def test_cosyvoice_of_version_1_has_another_rate() -> None:
    async with over(httpservers.cosyvoice, CosyVoice, version=1, mode="sft") as (made, _):
        assert {sound.rate_hz for sound in await say(made)} == {22_050}


async def test_cosyvoice_by_grpc() -> None:
    script = Script()
    async with grpcservers.cosyvoice(script) as address:
        for options, number in ((REFERENCE, 2), ({"ref_file": str(RECORDING)}, 3), ({"mode": "sft"}, 1)):
            made: Any = engine(CosyVoiceGrpc, address, **options)
            await say(made)
            await made.aclose()
            assert script.asked[-1]["mode"] == number
    zero_shot, cross_lingual, sft = (asked["fields"] for asked in script.asked)
    assert zero_shot[2] == SAID.encode() and len(zero_shot[3]) == len(cross_lingual[2]) == 8_000 * 2
    assert sft[1].decode() == "中文女"


async def test_fish_speech_takes_ids_recordings_and_the_models_own_voice() -> None:
    async with over(httpservers.fishspeech, FishVoice, pace="fast") as (made, script):
        await say(made)
        await made.warm_up()
        assert [voice.id for voice in made.voices()][1:] == ["fish-speech:anna", "fish-speech:ben"]
        await say(made, voice="ben")
        assert "reference_id" not in script.asked[0] and script.asked[0]["chunk_length"] == 100
        assert script.asked[1]["reference_id"] == "ben" and script.asked[1]["key"] == f"Bearer {KEY}"
    async with over(httpservers.fishspeech, FishVoice, **REFERENCE) as (made, script):
        await say(made)
        [sent] = script.asked[0]["references"]
        assert base64.b64decode(sent["audio"]) == RECORDING.read_bytes() and sent["text"] == SAID


async def test_xtts_computes_a_speaker_once_and_learns_what_chinese_is_called() -> None:
    async with over(httpservers.xtts, XttsVoice, pace="quality", **REFERENCE) as (made, script):
        await asyncio.gather(say(made), say(made))
        assert script.asked_to_clone == 1 and {asked["language"] for asked in script.asked} == {"zh-cn"}  # type: ignore[attr-defined]
        assert script.asked[0]["stream_chunk_size"] == "40"

    script = Script()

    async def picky(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        script.asked.append(facts)
        if facts["language"] == "zh-cn":
            return web.json_response({"detail": [{"msg": "unexpected value"}]}, status=422)
        return web.Response(body=tone(0.1))

    routes = [httpservers.xtts(script)[0], web.post("/tts_stream", picky)]
    async with over(lambda _: routes, XttsVoice, **REFERENCE) as (made, _):
        assert await say(made) and await say(made)
        assert [asked["language"] for asked in script.asked] == ["zh-cn", "zh", "zh"]


async def test_indextts2_fills_the_pages_arguments_by_name() -> None:
    async with over(httpservers.indextts2, IndexVoice, emotions=(0.3,), **REFERENCE) as (made, script):
        await say(made)
        assert script.asked[0] == {
            "emo_control_method": "使用情感向量控制",
            "prompt": {"path": "/tmp/gradio/up.wav", "meta": {"_type": "gradio.FileData"}},
            "text": HELLO,
            "emo_ref_path": "default emo_ref_path",
            "vec1": 0.3,
            "max_text_tokens_per_segment": 120,
        }
        script.error_as_answer = True
        with pytest.raises(EngineError):
            await say(made)
        assert made._uploaded == {}, "the server may have lost it"
    async with over(httpservers.indextts2_vllm, IndexVoice, protocol="vllm", ref_file="/there/anna.wav") as (
        made,
        script,
    ):
        await say(made)
        assert some(script.asked[0], "spk_audio_path", "emo_control_method") == {
            "spk_audio_path": "/there/anna.wav", "emo_control_method": 0,
        }  # fmt: skip


async def test_tencent_fields() -> None:
    async with over(httpservers.tencent, TencentVoice, ref_file="501001") as (made, script):
        await say(made, speed=1.5)
        await say(made, voice="WCHN-abc", speed=0.7)
        first, second = script.asked
        assert some(first, "Action", "AppId", "SecretId", "VoiceType", "SampleRate", "Codec", "Speed") == {
            "Action": "TextToStreamAudio", "AppId": 1259, "SecretId": "AKIDsecret-id", "VoiceType": 501001,
            "SampleRate": 16_000, "Codec": "pcm", "Speed": 2.0,
        }  # fmt: skip
        assert some(second, "VoiceType", "FastVoiceType", "Speed") == {
            "VoiceType": 200000000, "FastVoiceType": "WCHN-abc", "Speed": -1.5,
        }  # fmt: skip
    # By hand: echo -n 'POSThost/stream?A=1&B=x' | openssl dgst -sha1 -hmac k -binary | base64
    assert signature("k", "host", {"B": "x", "A": 1}) == "9RlkuFyDzhRKMLJdK33fTmNdvvk="


async def test_azure_writes_ssml_that_no_text_can_break() -> None:
    async with over(httpservers.azure, AzureVoice, style="cheerful") as (made, script):
        text = 'Tom & "Jerry" <break/> ]]> 你好'
        await say(made, text, voice="en-US-AvaMultilingualNeural", speed=1.25)
        assert script.asked == [
            {"text": text, "voice": "en-US-AvaMultilingualNeural", "format": "raw-24khz-16bit-mono-pcm"}
        ]
        assert 'rate="+25%"' in made._ssml(made._asked("x", made.voices()[0], "en", 1.25, ""))
        await made.warm_up()
        assert [voice.id for voice in made.voices()][1:] == [
            "azure:zh-CN-XiaoxiaoNeural",
            "azure:en-US-AvaMultilingualNeural",
        ]
        assert "zh" in made.voices()[2].languages and made.voices()[1].languages == ("zh",)
    china = AzureVoice(None, Common(keys={"AZURE_SPEECH_KEY": "k", "AZURE_TTS_REGION": "chinaeast2"}))
    assert china.server == "https://chinaeast2.tts.speech.azure.cn"


async def test_stepfun_by_both_ways() -> None:
    async with over(httpservers.stepfun, StepFunVoice, instruction="slow") as (made, script):
        await made.warm_up()
        assert [voice.id for voice in made.voices()] == ["stepfun:linjiajiejie", "stepfun:wenrounansheng"]
        assert [voice.gender for voice in made.voices()] == ["female", "male"]
        assert made.find_voice("voice-tone-abc"), "a cloned voice is named, and not listed"
        await say(made, voice="voice-tone-abc", speed=3)
        assert some(script.asked[0], "voice", "speed", "response_format", "sample_rate", "instruction") == {
            "voice": "voice-tone-abc", "speed": 2.0, "response_format": "pcm", "sample_rate": RATE_HZ,
            "instruction": "slow",
        }  # fmt: skip
    async with over(socketservers.stepfun, StepFunSocket) as (made, script):
        await say(made)
        assert some(script.asked[0], "voice_id", "response_format", "mode") == {
            "voice_id": "linjiajiejie", "response_format": "pcm", "mode": "default",
        }  # fmt: skip


async def test_doubao_fields() -> None:
    async with over(socketservers.doubao, DoubaoVoice, emotion="happy") as (made, script):
        await say(made, speed=0.5)
        await say(made, voice="S_abc123")
        first, second = script.asked
        assert some(first, "voice_type", "appid", "cluster", "speed_ratio", "encoding", "emotion") == {
            "voice_type": "BV001_streaming", "appid": "77", "cluster": "volcano_tts", "speed_ratio": 0.8,
            "encoding": "pcm", "emotion": "happy",
        }  # fmt: skip
        assert second["cluster"] == "volcano_icl" and first["token"] == "-"


async def test_doubao_v3_fields_and_keys_of_both_consoles() -> None:
    async with over(httpservers.doubao_v3, DoubaoV3Voice, emotion="happy") as (made, script):
        await say(made, speed=1.3)
        await say(made, voice="zh_female_shuangkuaisisi_moon_bigtts", speed=9)
        made.keys["DOUBAO_API_KEY"] = "new"
        await say(made, voice="S_abc123")
        first, second, third = script.asked
        assert some(first, "speaker", "format", "sample_rate", "speech_rate", "emotion", "X-Api-Resource-Id") == {
            "speaker": "zh_female_vv_uranus_bigtts", "format": "pcm", "sample_rate": RATE_HZ, "speech_rate": 30,
            "emotion": "happy", "X-Api-Resource-Id": "seed-tts-2.0",
        }  # fmt: skip
        assert some(first, "X-Api-App-Id", "X-Api-Access-Key", "X-Api-Key") == {
            "X-Api-App-Id": "77", "X-Api-Access-Key": KEY, "X-Api-Key": None,
        }  # fmt: skip
        assert (second["X-Api-Resource-Id"], second["speech_rate"]) == ("seed-tts-1.0", 100)
        assert (third["X-Api-Resource-Id"], third["X-Api-Key"], third["X-Api-App-Id"]) == ("seed-icl-2.0", "new", None)


@pytest.mark.parametrize(
    ("answer", "says", "again_s"),
    [
        ('{"code": 45000000, "message": "speaker permission denied"}', "permission denied", 300.0),
        ('{"code": 40402003, "message": "TTSExceededTextLimit"}', "TTSExceededTextLimit", 0.0),
        ('{"header": {"code": 40000001, "message": "quota exceeded for types: concurrency"}}', "concurrency", None),
        ('{"code": 0, "data": "AAAA"}\n', "ended before the sound was complete", None),
        ('{"code": 0, "data": "***"}', "no base64", None),
        ("busy }", "what is no JSON", None),
    ],
)
async def test_doubao_v3_errors(answer: str, says: str, again_s: float | None) -> None:
    async def unidirectional(request: web.Request) -> web.StreamResponse:
        return web.Response(text=answer, content_type="application/json")

    async with over(lambda _: [web.post("/api/v3/tts/unidirectional", unidirectional)], DoubaoV3Voice) as (made, _):
        with pytest.raises(EngineError, match=says) as caught:
            await say(made)
        assert caught.value.retry_after_s == again_s


async def test_a_socket_opens_the_next_connection_while_this_one_speaks() -> None:
    script = Script()
    opened: list[int] = []

    def counted(routes: Any) -> Any:
        made = routes(script)
        handler = made[0].handler

        async def count(request: web.Request) -> web.StreamResponse:
            opened.append(1)
            response: web.StreamResponse = await handler(request)
            return response

        return [web.get(made[0].path, count)]

    async with over(lambda _: counted(socketservers.doubao), DoubaoVoice) as (made, _):
        for _ in range(3):
            await say(made)
        assert len(opened) == 4 and len(script.asked) == 3
        await made._sockets._preparing
        made._sockets._spares[0][0]._socket._response.close()  # lost while nobody looked
        await say(made)
        assert len(script.asked) == 4


@pytest.mark.parametrize("kind", [DoubaoVoice, StepFunSocket, QwenVoice])
async def test_a_spare_that_the_server_closed_meanwhile_costs_nothing(kind: Any) -> None:
    routes = {DoubaoVoice: socketservers.doubao, StepFunSocket: socketservers.stepfun, QwenVoice: socketservers.qwen}
    async with over(routes[kind], kind, "/api-ws/v1/realtime" if kind is QwenVoice else "") as (made, script):
        await say(made)
        if made._sockets._preparing:
            await made._sockets._preparing
        [(line, _)] = made._sockets._spares
        # As if the server's goodbye were on its way when the clause was asked for.
        await line._socket._writer.close(1000)
        assert await say(made) and script.texts == [HELLO, HELLO]


async def test_qwen_speaks_on_over_one_connection_and_opens_another_for_another_voice() -> None:
    async with over(socketservers.qwen, QwenVoice, "/api-ws/v1/realtime") as (made, script):
        for voice in ("Cherry", "Cherry", "Ethan"):
            await say(made, voice=voice)
        assert len(made._sockets._spares) == 2
        await say(made, voice="Cherry", speed=1.5)
        told = some(script.asked[3], "voice", "mode", "language_type", "sample_rate", "speech_rate", "response_format")
        assert told == {
            "voice": "Cherry", "mode": "commit", "language_type": "Chinese", "sample_rate": RATE_HZ, "speech_rate": 1.5,
            "response_format": "pcm",
        }  # fmt: skip


async def test_spark_tts_fields() -> None:
    script = Script()
    async with grpcservers.spark(script) as address:
        made: Any = engine(SparkVoice, address, model="cosyvoice2", **REFERENCE)
        sounds = await say(made)
        await made.aclose()
        assert some(script.asked[0], "prompt_text", "model") == {"prompt_text": SAID, "model": b"cosyvoice2"}
        assert all(sound.rate_hz is None for sound in sounds) and made.sample_rate_hz == 16_000


async def test_a_connection_that_was_kept_open_and_is_gone_costs_nothing() -> None:
    script = Script()

    async def closing(request: web.Request) -> web.StreamResponse:
        response = await httpservers.gptsovits(script)[0].handler(request)
        asyncio.get_running_loop().call_later(0.01, request.transport.abort)  # type: ignore[union-attr]
        return response

    async with over(lambda _: [web.post("/tts", closing)], SovitsVoice, ref_file="a.wav") as (made, _):
        for _ in range(3):
            assert await say(made)
            await asyncio.sleep(0.03)


async def test_no_key_follows_a_redirection() -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/steal")

    async with over(lambda _: [web.post("/v1/audio/speech", moved)], OpenAiVoice) as (made, _):
        with pytest.raises(EngineError, match="sends one on to 'http://127.0.0.1:9/steal'"):
            await say(made)


async def test_a_key_that_a_server_repeats_is_masked() -> None:
    async def repeats(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"Incorrect API key provided: {KEY}"}}, status=401)

    async with over(lambda _: [web.post("/v1/audio/speech", repeats)], OpenAiVoice) as (made, _):
        with pytest.raises(EngineError, match=r"provided: \*\*\* \(check TTS_API_KEY / OPENAI_API_KEY\)"):
            await say(made)


async def test_a_server_that_never_ends_is_stopped() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(bytes(1 << 20))
        return response

    async with over(lambda _: [web.post("/v1/audio/speech", endless)], OpenAiVoice) as (made, _):
        with pytest.raises(EngineError, match="more sound than the text can have"):
            async for _ in made.speak("Hi.", made.voices()[0], "en"):
                pass


@pytest.mark.parametrize("form", ["mp3", "opus", "flac"])
async def test_compressed_answers_are_decoded_as_they_come(form: str) -> None:
    from tests.test_wire_audio import encoded, is_the_tone

    body = {"mp3": ("mp3", "mp3", RATE_HZ), "opus": ("ogg", "libopus", 48_000), "flac": ("flac", "flac", RATE_HZ)}[form]
    sound, media = encoded(*body), {"mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac"}[form]
    held = asyncio.Event()

    async def speech(request: web.Request) -> web.StreamResponse:
        assert (await request.json())["response_format"] == form
        response = web.StreamResponse(headers={"Content-Type": media})
        await response.prepare(request)
        await response.write(sound[: len(sound) * 3 // 4])
        if form != "flac":
            await held.wait()
        await response.write(sound[len(sound) * 3 // 4 :])
        return response

    async with over(lambda _: [web.post("/v1/audio/speech", speech)], OpenAiVoice, format=form) as (made, _):
        stream = made.speak("Hi.", made.voices()[0], "en")
        sounds = [await anext(stream)]
        held.set()
        sounds += [sound async for sound in stream]
        pcm = np.concatenate([sound.pcm for sound in sounds])
        assert is_the_tone(pcm, sounds[-1].rate_hz or 0)


async def test_a_livekit_plugin_speaks_from_the_speech_process() -> None:
    pytest.importorskip("livekit.plugins.cartesia")
    script = Script()
    async with httpservers.served(*socketservers.cartesia(script)) as address:
        options = {"api_key": KEY, "base_url": address, "sample_rate": 22_050, "languages": "en"}
        made = RemoteEngine(SpeechProcess(), "tts.livekit:LiveKitEngine", {"plugin": "cartesia", "options": options})
        try:
            voice = made.find_voice("livekit:cartesia:f00d")  # type: ignore[attr-defined]
            sounds = [sound async for sound in made.speak("Good morning to all.", voice, "en") if sound.pcm.size]
            assert {sound.rate_hz for sound in sounds} == {22_050}
            assert [word.text for sound in sounds for word in sound.words] == ["Good", "morning", "to", "all."]
            assert some(script.asked[0], "voice", "language") == {
                "voice": {"mode": "id", "id": "f00d"},
                "language": "en",
            }
            script.status = 401
            bad = {"plugin": "cartesia", "options": {**options, "no_such_option": 1}}
            wrong = RemoteEngine(made._process, "tts.livekit:LiveKitEngine", bad)
            wrong.name = "livekit:wrong"
            with pytest.raises(EngineError, match="no_such_option"):
                async for _ in wrong.speak("Good morning.", voice, "en"):
                    pass
        finally:
            await made.aclose()


async def test_voices_are_listed_once_the_server_is_there() -> None:
    script = Script(status=503)
    routes = httpservers.openai(script)
    up: list[bool] = []

    async def voices(request: web.Request) -> web.StreamResponse:
        return await routes[1].handler(request) if up else web.Response(status=503)

    async with over(lambda _: [routes[0], web.get(routes[1].path, voices)], OpenAiVoice) as (made, _):
        await made.warm_up()
        assert [voice.id for voice in made.voices()] == ["openai:alloy"]
        up.append(True)
        script.status = 0
        await say(made)
        await made._listing
        assert "openai:zf_xiaobei" in [voice.id for voice in made.voices()]


async def test_step_audio_speaks_as_a_speaker_of_its_server_or_as_a_recording() -> None:
    async with over(httpservers.stepaudio, StepAudioVoice, tags="(高兴1)(四川话)", rate=RATE_HZ) as (made, script):
        await say(made)
        await made.warm_up()
        await say(made, voice="stepaudio:anna")
        assert [voice.id for voice in made.voices()] == ["stepaudio:Tingting", "stepaudio:anna"]
    first, second = script.asked
    assert (first["path"], first["speaker"], first["tts_text"]) == ("/tts", "Tingting", f"(高兴1)(四川话){HELLO}")
    assert second["speaker"] == "anna"
    async with over(httpservers.stepaudio, StepAudioVoice, rate=RATE_HZ, **REFERENCE) as (made, script):
        await say(made)
        assert [voice.id for voice in made.voices()] == ["stepaudio:recording"]
    (asked,) = script.asked
    assert (asked["path"], asked["prompt_text"], asked["prompt_wav"]) == ("/clone", SAID, RECORDING.read_bytes())
