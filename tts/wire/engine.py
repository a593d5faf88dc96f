"""`ServerEngine`: what every engine that speaks to a server has: voices, references, keys, limits, errors."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from errors import EngineError
from tts.base import Sound, Voice
from tts.wire.http import HttpVoice
from tts.wire.options import Common, Reference, ServerOptions
from tts.wire.sockets import SPARES_MAX, Stale
from tts.wire.texts import parts

ENGLISH_NAMES = {
    "zh": "Chinese", "en": "English", "ja": "Japanese", "ko": "Korean", "fr": "French", "de": "German",
    "es": "Spanish", "it": "Italian", "pt": "Portuguese", "ru": "Russian",
}  # fmt: skip
WIDE = tuple(ENGLISH_NAMES)
"""Languages that the large multilingual models speak."""
NAME_CHARACTERS_MAX = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Lack:
    """What keeps an engine from being used."""

    en: str
    zh: str
    fix: str


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One clause, or a part of one that its server takes at a time."""

    text: str
    voice: str
    """What the server calls it; of a reference, its name here."""
    language: str
    """BCP 47 primary tag."""
    speed: float = 1.0
    reference: Reference | None = None
    """The recording to imitate, where the voice is one; its text is the session's own where it gave one."""


class ServerEngine:
    """One server. A subclass names its facts and says in `say` how one part of a clause is asked for.

    Args:
        options: of `Options`.
        common: what all engines are told.
    """

    name: ClassVar[str]
    Options: ClassVar[type[ServerOptions]] = ServerOptions
    default_server: ClassVar[str] = ""
    """Where it listens when nobody says otherwise."""
    default_voice: ClassVar[str] = ""
    open_voice: ClassVar[re.Pattern[str] | None] = None
    """What names of voices that are not listed look like; None: only those that are."""
    model_rate_hz: ClassVar[int] = 24_000
    key_names: ClassVar[tuple[str, ...]] = ()
    """Environment variables it cannot do without."""
    optional_keys: ClassVar[tuple[str, ...]] = ()
    plain_keys: ClassVar[tuple[str, ...]] = ()
    """Those of both that are no secrets: a region, the number of an account."""
    spoken: ClassVar[tuple[str, ...]] = WIDE
    part_characters: ClassVar[int] = 10_000
    """More is asked for part by part."""
    part_bytes: ClassVar[int | None] = None
    """The same, of UTF-8."""
    takes_speed: ClassVar[bool] = True
    tells_words: ClassVar[bool] = False
    licence: ClassVar[str] = "LicenseRef-as-the-server-says"

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        self.options = options or self.Options()
        self.common = common or Common()
        self.sample_rate_hz = self.options.rate or self.model_rate_hz
        self.at_once = self.options.at_once
        self.patience_s = self.options.timeout_s
        self.takes_ref_text = self.imitates
        self.keys = {name: self.common.keys.get(name, "").strip() for name in (*self.key_names, *self.optional_keys)}
        secrets = [value for name, value in self.keys.items() if name not in self.plain_keys]
        self.http = HttpVoice(self.name, " / ".join(self.keys), secrets)
        self.references = self._named_references() if self.imitates else {}
        self._listed: tuple[Voice, ...] = ()
        """As the server told."""
        self._has_listed = False
        self._listing: asyncio.Task[None] | None = None

    @property
    def imitates(self) -> bool:
        """Whether its voices are recordings that it imitates."""
        return False

    @property
    def reads_recordings(self) -> bool:
        """Whether they lie on this machine and are sent; else they are the server's own files."""
        return True

    @property
    def server(self) -> str:
        """Its address."""
        return self.options.server or self.default_server

    @property
    def variant(self) -> str:
        """Changes with whatever of the configuration its sound depends on."""
        facts = self.options.model_dump_json(exclude={"at_once", "timeout_s"}) + self.common.mode + self.server
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    # ---- voices

    def voices(self) -> tuple[Voice, ...]:
        """The configured voice first, then those the configuration and the server name."""
        if self.lack():
            return ()
        own = [self.voice(name) for name in self._names()]
        known = {voice.id for voice in own}
        return (*own, *(voice for voice in self._listed if voice.id not in known))

    def find_voice(self, name: str) -> Voice | None:
        """A voice that is not listed, where names are open: `azure:de-DE-KatjaNeural`, or without the engine."""
        bare = name.removeprefix(f"{self.name}:")
        for known, reference in self.references.items():
            if bare == reference.file:
                return self.voice(known)
        if self.lack() or self.open_voice is None or len(bare) > NAME_CHARACTERS_MAX:
            return None
        return self.voice(bare) if self.open_voice.fullmatch(bare) else None

    def voice(self, name: str, languages: tuple[str, ...] = (), gender: str = "neutral") -> Voice:
        """The voice that the server, or the configuration, calls so."""
        spoken = languages or self.options.languages or self.spoken
        return Voice(f"{self.name}:{name}", self.name, spoken, gender, self.licence)

    async def warm_up(self) -> None:
        """Ask the server which voices it has. One that is not there is asked again once it has spoken."""
        await self._list()

    async def _list(self) -> None:
        with contextlib.suppress(EngineError):
            self._listed = tuple(dict.fromkeys(await self.list_voices()))
            self._has_listed = True

    async def list_voices(self) -> list[Voice]:
        """The voices the server lists; none where it cannot.

        Raises:
            EngineError: it does not answer.
        """
        return []

    def _names(self) -> list[str]:
        if self.imitates:
            return list(self.references)
        return [name for name in (self.options.ref_file or self.default_voice,) if name]

    def _named_references(self) -> dict[str, Reference]:
        named: dict[str, Reference] = {}
        if self.options.ref_file:
            own = Reference(file=self.options.ref_file, text=self.options.ref_text)
            named[Path(own.file).stem or "reference"] = own
        return {**named, **self.options.voices}

    # ---- speaking

    def why_not(self) -> str | None:
        """None when it may be asked; whether its server answers is found out by asking."""
        lack = self.lack()
        return f"{self.name}: {lack.en}" if lack else None

    def lack(self) -> Lack | None:
        """What is missing before it may be asked, in both languages and with what helps; None when nothing is."""
        missing = [name for name in self.key_names if not self.keys[name]]
        if missing:
            names = ", ".join(missing)
            sets = " ".join(f"{name}=…" for name in missing)
            return Lack(f"{names} not set in the environment", f"环境变量 {names} 未设置", f"export {sets}")
        if not self.server:
            fix = f"--tts {self.name} --TTS_SERVER http://…"
            return Lack("its server's address is not configured", "未配置其服务地址", fix)
        if self.imitates and not self.references:
            fix = f'--tts {self.name} --REF_FILE me.wav --REF_TEXT "…"'
            return Lack("it imitates a recording, and none is configured", "它模仿一段录音，但未配置录音", fix)
        return self._lacks_file()

    def _lacks_file(self) -> Lack | None:
        for reference in self.references.values() if self.reads_recordings else ():
            if not Path(reference.file).is_file():
                where = reference.file
                return Lack(f"the recording {where} is not there", f"录音 {where} 不存在", "--REF_FILE …")
        return None

    async def speak(
        self, clause: str, voice: Voice, language: str, speed: float = 1.0, ref_text: str = ""
    ) -> AsyncGenerator[Sound, None]:
        """The clause as the server makes it; nothing, and nothing asked, where nothing in it can be spoken."""
        asked = self._asked(clause, voice, language, speed, ref_text)
        for part in parts(clause, self.part_characters, self.part_bytes):
            if any(map(str.isalnum, part)):
                async with contextlib.aclosing(self._say(dataclasses.replace(asked, text=part))) as sounds:
                    async for sound in sounds:
                        yield sound
        if not self._has_listed and self._listing is None:
            self._listing = asyncio.create_task(self._list(), name=f"voices of {self.name}")

    def _asked(self, clause: str, voice: Voice, language: str, speed: float, ref_text: str) -> Asked:
        name = voice.id.removeprefix(f"{self.name}:")
        reference = self.references.get(name)
        if reference is not None and ref_text:
            reference = reference.model_copy(update={"text": ref_text})
        return Asked(clause, name, language, speed, reference)

    async def _say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """One part; asked for again where a connection that was kept for it proves closed."""
        for left in range(SPARES_MAX, -1, -1):
            try:
                async with contextlib.aclosing(self.say(asked)) as sounds:
                    async for sound in sounds:
                        yield sound
                return
            except Stale:
                if not left:
                    raise

    def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound of one part, as it arrives.

        Raises:
            EngineError: the server failed.
        """
        raise NotImplementedError

    def tuned(self, values: Mapping[str, Any]) -> Any:
        """The one of `values` that belongs to the performance mode."""
        return values[self.common.mode]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.gather(self._listing, return_exceptions=True)
        await self.http.aclose()
