"""Every constant of listening and turn-taking, in one place and with its reason; three named modes of them.

Seconds are of sound unless said otherwise. Thresholds of turns were tuned on one half of `training/turns/` and are
reported on the other (`python -m benchmarks.turns`).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

EchoMode = Literal["off", "browser", "aec", "gate", "window"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSettings:
    """One session's; equal for all sessions of a mode unless the session says otherwise."""

    # Voice activity.
    speech_threshold: float = 0.5
    """Silero's probability from which a window is speech: its authors' value."""
    silence_threshold: float = 0.35
    """Under it speech has ended; between the two what was goes on. Silero's authors keep the same distance of 0.15."""
    start_s: float = 0.128
    """Speech above the threshold before somebody is said to speak (4 windows). A click fills 1 or 2, a word more."""
    resume_s: float = 0.064
    """The same within a pause: who has just spoken is believed sooner."""
    pause_s: float = 0.2
    """Silence that is a pause. Smart-turn was trained on this much; stops within words are shorter than 150 ms."""
    hush_s: float = 0.064
    """Silence from which the utterance may have ended: it is recognised before that is believed (2 windows)."""
    prefix_s: float = 0.4
    """Sound kept from before speech was noticed: 128 ms of noticing, and soft word beginnings Silero hears late."""
    quiet_dbfs: float = -66.0
    """Windows below are silence without asking Silero: a muted microphone costs nothing. Whispering is above -60."""

    # Utterances.
    utterance_limit_s: float = 30.0
    """Longer ones end there: Whisper hears 30 s at once."""
    min_speech_s: float = 0.16
    """Less speech than this is a cough, a click or a breath. The shortest answers ("no", "好") have 0.2 s."""
    partial_first_s: float = 0.8
    partial_every_s: float = 1.0
    """Sound between two transcriptions for captions, counted from the end of the one before."""
    empty_partials: int = 3
    """After so many without a word the rest of an utterance gets none: it is music, or noise."""
    recogniser_timeout_s: float = 12.0
    """Of the clock. The slowest recogniser on two busy cores takes 5 s for 30 s of speech."""
    lost_s: float = 1.0
    """Of the clock without a frame of the microphone, while somebody speaks: then nobody does any more."""

    # Ends of turns. `*_s` are silence since the last sound of speech.
    sure: float = 0.95
    """Smart-turn's probability from which it is believed. At its authors' 0.5 it takes three of four pauses for ends;
    three of four ends are above this."""
    likely: float = 0.5
    doubted: float = 0.78
    """Confidence of a recogniser under which its text is doubted: Whisper completes sentences that break off ("a table
    for you"). Half of those are below with its base model; of whole sentences a quarter in Chinese, few in English."""
    sure_s: float = 0.6
    """Text finished, sounds finished, no doubt."""
    likely_s: float = 1.0
    """Text finished, may sound finished; or a doubt."""
    unlikely_s: float = 1.1
    """Text finished, does not sound so; or more doubts."""
    open_sure_s: float = 1.3
    """Text open, sounds finished."""
    open_likely_s: float = 1.5
    """Text open, may sound finished."""
    limit_s: float = 1.8
    """Text open and sounds so; no end of a turn waits for longer, but for `wait`."""
    wait_limit_s: float = 6.0
    """After "wait a moment": TEN forces the end of a turn after 5 s, OpenAI's patient mode after 8 s."""
    classifier_url: str = ""
    """Of an OpenAI-compatible server with ten-turn-detection; empty: the rule on the text judges."""
    classifier_model: str = "TEN_Turn_Detection"
    classifier_timeout_s: float = 5.0
    """Of the clock; TEN's own extension then takes the text for unfinished."""

    # Speaking over her.
    barge_in_s: float = 0.3
    """Speech over her that ends her turn. Shorter is a cough or "mm-hm"; LiveKit takes 0.5, pipecat 0.2."""
    min_words: int = 1
    """Recognised words, beside those that only say "I am listening", without which a barge-in was none."""
    false_barge_in_s: float = 2.0
    """Nothing recognised for so long after a barge-in: she goes on where she was. LiveKit's value."""
    echo: EchoMode = "browser"
    """What keeps her own sound out: browsers cancel it; `aec` for clients that do not."""

    # Recognition.
    asr_model: str = "base"
    asr_beam: int = 5
    """Greedy is quicker by a third or so; Chinese suffers most from it."""

    # Answering.
    speculate: bool = True
    """Ask the language model as soon as a pause has its text; dropped when speech resumes."""
    first_clause_words: int = 3
    first_clause_characters: int = 4
    """Least of a first clause that is spoken by itself: words of alphabetic text, characters of Chinese."""
    group_clauses: int = 3
    """Clauses that are spoken together after the first."""


FAST = ListeningSettings(
    partial_first_s=0.6,
    partial_every_s=0.8,
    sure=0.93,
    sure_s=0.5,
    likely_s=0.7,
    unlikely_s=0.9,
    open_sure_s=1.0,
    open_likely_s=1.2,
    limit_s=1.4,
    first_clause_words=2,
    first_clause_characters=3,
    group_clauses=2,
)
"""Answers sooner and cuts off more often: for short questions at a counter."""

BALANCED = ListeningSettings()

QUALITY = ListeningSettings(
    sure_s=0.9,
    likely_s=1.2,
    unlikely_s=1.4,
    open_sure_s=1.6,
    open_likely_s=1.8,
    limit_s=2.4,
    asr_model="large-v3-turbo",
    first_clause_words=4,
    first_clause_characters=8,
)
"""Lets people think while they speak, and recognises with the large model where it is there."""

MODES = {"fast": FAST, "balanced": BALANCED, "quality": QUALITY}
