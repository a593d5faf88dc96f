"""`python app.py stepaudio`: Step-Audio without a browser.

    python app.py stepaudio check                                 which of its files are there
    python app.py stepaudio serve [--port 8000] [--chat]          for --tts stepaudio and --llm stepaudio
    python app.py stepaudio speak TEXT --out FILE.wav [--speaker Tingting | --clone FILE --clone_text TEXT]
    python app.py stepaudio batch JOBS.jsonl --out DIRECTORY      many texts and conversations, each with its result
                             [--served URL --voice FILE]          answered by a served Step-Audio 2, like a recording
    python app.py stepaudio tokens FILE                           a recording as <audio_N>...

A job of `batch` is one JSON object a line: `{"text": ...}` or `{"messages": [...]}`, and as one likes `name`,
`speaker`, `tags`, `clone` (`{"wav_path", "prompt_text"}`), `speed_ratio`, `volumn_ratio`, `seed`. One that fails is
told of and does not stop the others; `results.jsonl` has a line for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import BadRequest, NotFound, Unavailable, VisageError
from media import Pcm
from stepaudio import layout

if TYPE_CHECKING:
    from stepaudio.model import StepAudio
    from stepaudio.tts import StepAudioTTS

JOB_BYTES_MAX = 1 << 20
_JOB = {"text", "messages", "name", "speaker", "clone", "speed_ratio", "volumn_ratio", "seed", "tags"}
Done = Callable[[Mapping[str, Any], Path], dict[str, Any]]
"""Does a job, writes its sound to the path, and says what `results.jsonl` is to hold."""
_NAME = re.compile(r"[\w\-. ]{1,100}")
INSTALL = "make stepaudio"


def main(argv: Sequence[str]) -> int:
    """Run a subcommand; its exit status."""
    given = _parser().parse_args(list(argv))
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "check": _check, "serve": _serve, "speak": _speak, "batch": _batch, "tokens": _tokens,
    }  # fmt: skip
    try:
        return commands[given.command](given)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"the package {error.name} is not installed: {INSTALL}", zh=f"未安装 {error.name}：{INSTALL}"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python app.py stepaudio", description="Step-Audio / 阶跃语音大模型")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help_)
        one.add_argument("--models", type=Path, default=layout.ROOT, help="directory of the published parts / 模型目录")
        one.add_argument("--device", default="", help="cpu, cuda, or several, comma separated / 设备，可用逗号分隔多个")
        return one

    add("check", "which files are there / 检查模型文件")
    serve = add("serve", "serve HTTP / 启动服务")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--chat", action="store_true", help="load the talking model too, 265 GB / 同时加载对话模型")
    serve.add_argument("--insecure", action="store_true", help="whoever reaches --host may use it / 允许外部访问")
    speak = add("speak", "speak one text / 合成一段语音")
    speak.add_argument("text")
    speak.add_argument("--out", type=Path, required=True)
    speak.add_argument("--speaker", default="Tingting")
    speak.add_argument("--clone", type=Path, help="a recording to imitate / 要克隆的录音")
    speak.add_argument("--clone_text", default="", help="what is said in it / 录音的文字内容")
    for name in ("--speed_ratio", "--volumn_ratio"):
        speak.add_argument(name, type=float, default=1.0)
    speak.add_argument("--seed", type=int)
    batch = add("batch", "many texts and conversations / 批量合成与对话")
    batch.add_argument("jobs", type=Path)
    batch.add_argument("--out", type=Path, required=True)
    batch.add_argument("--served", default="", help="a Step-Audio 2 under vLLM / vLLM 上的 Step-Audio 2，http://…/v1")
    batch.add_argument("--voice", type=Path, help="whose voice it answers in / 回答所用音色的录音")
    add("tokens", "a recording as tokens / 录音转 token").add_argument("recording", type=Path)
    return parser


def _check(given: argparse.Namespace) -> int:
    whole = True
    for part in layout.FILES:
        state = layout.state_of(part, given.models / part)
        needed = part not in (layout.CHAT, layout.SECOND, layout.SOURCE)
        whole = whole and (state.is_whole or not needed)
        wrong = ", ".join(
            [*(f"{name} ✗" for name in state.missing), *(f"{name} (size / 大小不符)" for name in state.wrong)]
        )
        print(f"{'✓' if state.is_whole else '✗' if needed else '·'} {part}{': ' + wrong if wrong else ''}")
        if not state.is_whole:
            print(f"    {layout.command(part)}")
    return 0 if whole else 1


def _serve(given: argparse.Namespace) -> int:
    from stepaudio.service import Service, serve

    if not given.insecure and not _is_loopback(given.host):
        raise BadRequest(
            f"--host {given.host} is reachable from other machines and this service knows no keys: give --insecure if "
            "all of them may use it",
            zh=f"--host {given.host} 可被其他机器访问，而本服务没有密钥；如允许请加 --insecure",
        )
    with _opened(given, chat=given.chat) as (tts, talking):
        with contextlib.suppress(VisageError):
            tts.warm_up()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(Service(tts, talking), given.host, given.port))
    return 0


def _speak(given: argparse.Namespace) -> int:
    job: dict[str, Any] = {"text": given.text, "speaker": given.speaker, "seed": given.seed}
    job |= {"speed_ratio": given.speed_ratio, "volumn_ratio": given.volumn_ratio}
    if given.clone:
        job["clone"] = {"wav_path": str(given.clone), "prompt_text": given.clone_text}
    with _opened(given, chat=False) as (tts, talking):
        seconds = _done(job, given.out, tts, talking)["seconds"]
    print(f"{given.out}: {seconds:.2f} s")
    return 0


def _batch(given: argparse.Namespace) -> int:
    jobs = list(read_jobs(given.jobs))
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.served:
        with _opened(given, chat=any("messages" in job for job in jobs)) as (tts, talking):
            return _work(jobs, given.out, lambda job, out: _done(job, out, tts, talking))
    from stepaudio import sound, spoken

    if given.voice is None or any("text" in job for job in jobs):
        raise BadRequest(
            "--served answers messages, in the voice of --voice", zh="--served 只处理 messages，并需要 --voice"
        )
    second = spoken.load(given.models / layout.SECOND, _devices(given)[0])
    replies = spoken.SpokenReplies(given.served, second, second.likeness(*sound.load_audio(given.voice)))

    def answered(job: Mapping[str, Any], out: Path) -> dict[str, Any]:
        text, audio, rate_hz = asyncio.run(replies.answer(job["messages"], **_options(job)))
        return {"text": text, **_written(out, audio, rate_hz)}

    return _work(jobs, given.out, answered)


def _work(jobs: Sequence[Mapping[str, Any]], out: Path, done: Done) -> int:
    """Do the jobs one after the other; 1 where one failed."""
    failed = 0
    with (out / "results.jsonl").open("w", encoding="utf-8") as results:
        for number, job in enumerate(jobs, 1):
            name = str(job.get("name", f"{number:04d}"))
            try:
                result = done(job, out / f"{name}.wav")
            except VisageError as error:
                failed += 1
                result = {"error": str(error), "error_zh": error.chinese(), "status": error.status}
            print(json.dumps({"name": name, **result}, ensure_ascii=False), file=results, flush=True)
            print(f"{number}/{len(jobs)} {name}: {result.get('error', 'ok')}", file=sys.stderr)
    return 1 if failed else 0


def read_jobs(path: Path) -> Iterator[dict[str, Any]]:
    """The jobs of a file, each checked before the first is begun.

    Raises:
        NotFound: there is no such file.
        BadRequest: a line is no job; its number is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there", zh=f"{path} 不存在") from error
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} cannot be read: {error}", zh=f"无法读取 {path}") from error
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        job = _job(line, f"{path}, line {number}", f"{path} 第 {number} 行")
        name = str(job.get("name", ""))
        if name in names:
            raise BadRequest(
                f"{path}, line {number}: the name {name!r} is taken", zh=f"{path} 第 {number} 行：名称重复"
            )
        names |= {name} if name else set()
        yield job


def _job(line: str, where: str, zh: str) -> dict[str, Any]:
    try:
        job = json.loads(line) if len(line) <= JOB_BYTES_MAX else None
    except ValueError as error:
        raise BadRequest(f"{where} is no JSON: {error}", zh=f"{zh}不是 JSON") from error
    if not isinstance(job, dict) or ("text" in job) == ("messages" in job):
        raise BadRequest(
            f"{where} must be an object with either text or messages", zh=f"{zh}应为含 text 或 messages 之一的对象"
        )
    unknown = sorted(set(job) - _JOB)
    if unknown:
        raise BadRequest(
            f"{where}: {unknown[0]} is unknown; there are {', '.join(sorted(_JOB))}", zh=f"{zh}：未知字段 {unknown[0]}"
        )
    name = job.get("name", "x")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("."):
        raise BadRequest(f"{where}: the name {name!r:.60} cannot be a file's", zh=f"{zh}：名称不能作文件名")
    return job


def _done(job: Mapping[str, Any], out: Path, tts: StepAudioTTS, talking: StepAudio | None) -> dict[str, Any]:
    """Do a job with the models here; what `results.jsonl` says of it.

    Raises:
        VisageError: it cannot be done.
    """
    speaker, tags = str(job.get("speaker", "Tingting")), str(job.get("tags", ""))
    if "messages" in job and talking is not None:
        text, audio, rate_hz = talking(job["messages"], speaker, tags=tags, **_options(job))
        return {"text": text, **_written(out, audio, rate_hz)}
    return _written(out, *tts(tags + str(job["text"]), speaker, job.get("clone"), **_options(job)))


def _options(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in ("speed_ratio", "volumn_ratio", "seed") if name in job}


def _written(out: Path, audio: Pcm, rate_hz: int) -> dict[str, Any]:
    import soundfile

    try:
        soundfile.write(out, audio, rate_hz, subtype="PCM_16")
    except (OSError, RuntimeError) as error:
        raise BadRequest(f"{out} cannot be written: {error}", zh=f"无法写入 {out}") from error
    return {"file": out.name, "seconds": round(len(audio) / rate_hz, 3)}


def _tokens(given: argparse.Namespace) -> int:
    from stepaudio import sound
    from stepaudio.tokenizer import StepAudioTokenizer

    pcm, rate_hz = sound.load_audio(given.recording)
    tokenizer = StepAudioTokenizer.load(given.models / layout.TOKENIZER, _devices(given)[0])
    try:
        print(tokenizer(pcm, rate_hz))
    finally:
        tokenizer.close()
    return 0


@contextlib.contextmanager
def _opened(given: argparse.Namespace, *, chat: bool) -> Iterator[tuple[StepAudioTTS, StepAudio | None]]:
    """The models of the given directory.

    Raises:
        VisageError: they cannot be loaded.
    """
    from stepaudio.model import StepAudio
    from stepaudio.tokenizer import StepAudioTokenizer
    from stepaudio.tts import StepAudioTTS

    devices = _devices(given)
    heard, speaking = given.models / layout.TOKENIZER, given.models / layout.TTS
    if chat:
        talking = StepAudio.load(heard, speaking, given.models / layout.CHAT, devices)
        with contextlib.closing(talking):
            yield talking.decoder, talking
        return
    with contextlib.closing(StepAudioTokenizer.load(heard, devices[0])) as encoder:
        yield StepAudioTTS.load(speaking, encoder, devices=devices), None


def _devices(given: argparse.Namespace) -> list[str]:
    """Those named, else all GPUs, else the CPU."""
    import torch

    named = [name.strip() for name in given.device.split(",") if name.strip()]
    if named:
        bad = [name for name in named if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", name)]
        if bad or ("cuda" in given.device and not torch.cuda.is_available()):
            raise BadRequest(
                f"--device {given.device!r}: allowed are cpu, cuda and cuda:N, and a GPU must be there",
                zh=f"--device {given.device!r} 无效：应为 cpu、cuda 或 cuda:N，且须有可用 GPU",
            )
        return named
    return [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
