"""`ListeningModels`: what the listeners of all sessions share, loaded once and off the event loop."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from errors import VisageError
from listening import smartturn, vad
from listening.listener import Listener, ListenerEvents
from listening.settings import ListeningSettings
from listening.smartturn import SmartTurn
from listening.turns import TenClassifier, TurnDetector

if TYPE_CHECKING:
    import onnxruntime

    from asr.base import ListenersRecogniser

log = logging.getLogger(__name__)


class ListeningModels:
    """Silero, which comes with the project, and smart-turn, without which the text and silence judge alone.

    Args:
        smart_turn: path of its weights.
    """

    def __init__(self, smart_turn: Path = smartturn.WEIGHTS) -> None:
        self._path = smart_turn
        self._silero: onnxruntime.InferenceSession | None = None
        self._smart_turn: SmartTurn | None = None
        self._classifiers: dict[tuple[str, str], TenClassifier] = {}

    def why_not(self) -> str | None:
        """None when ends of turns are judged by their sound too, else one sentence with the command for it."""
        if self._path.is_file():
            return None
        return "ends of turns are judged by the text alone; `python app.py weights pull listening` brings smart-turn"

    async def warm_up(self) -> None:
        """Load what the first listener would have to wait for; what cannot be loaded is logged.

        Raises:
            VisageError: Silero cannot be loaded, so nobody can be heard.
        """
        if self._silero is None:
            self._silero = await asyncio.to_thread(vad.load_silero)
        if self._smart_turn is None and self.why_not() is None:
            try:
                self._smart_turn = await asyncio.to_thread(SmartTurn, self._path)
            except VisageError as error:
                log.warning("ends of turns are judged by the text alone: %s", error)

    async def listener(
        self,
        recogniser: ListenersRecogniser,
        settings: ListeningSettings,
        events: ListenerEvents,
        *,
        language: str | None = None,
    ) -> Listener:
        """A session's; whoever asks for it closes it.

        Args:
            recogniser: shared by all sessions.
            settings: the session's.
            events: told what is heard.
            language: BCP 47 primary tag when it is known which will be spoken.

        Raises:
            VisageError: Silero cannot be loaded.
        """
        await self.warm_up()
        turns = TurnDetector(settings, self._smart_turn, self._classifier(settings))
        return Listener(vad.SileroVad(self._silero), turns, recogniser, settings, events, language=language)

    def _classifier(self, settings: ListeningSettings) -> TenClassifier | None:
        if not settings.classifier_url:
            return None
        key = (settings.classifier_url, settings.classifier_model)
        if key not in self._classifiers:
            self._classifiers[key] = TenClassifier(*key, settings.classifier_timeout_s)
        return self._classifiers[key]

    async def aclose(self) -> None:
        """End what is open to servers."""
        for classifier in self._classifiers.values():
            await classifier.aclose()
