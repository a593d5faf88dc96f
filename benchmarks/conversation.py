"""How soon she answers who talks to her, how soon she stops for who talks over her, and for whom she does not."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import soxr

from benchmarks import analysis, heard
from benchmarks.figures import Figure
from benchmarks.questions import ANSWERS, LISTENING, OVER_HER, QUESTIONS, STORIES, Language
from benchmarks.scenario import Plan
from benchmarks.scripted_model import is_chinese
from benchmarks.tape import RATE_HZ, Pcm, Tape, cough, speaker_of, spoken
from benchmarks.taped import LEAD_S, Talk, house, play

NAMES: dict[Language, str] = {"en": "English", "zh": "Chinese"}
FIRST = QUESTIONS["en"][4]
"""What she answers at length."""
TURNS, TURNS_QUICK = 12, 2
INTERRUPTIONS, INTERRUPTIONS_QUICK = 12, 2
GAP_S, GAP_QUICK_S = 4.8, 8.0
"""After a question, for the answer and its end. The quick one is for busy machines too."""
BEFORE_OVER_S = 3.2
"""From a question to what is said over its answer: she has been speaking for a second or two."""
BEFORE_FALSE_S = 4.5
"""Between two sounds that must not stop her: she gives such a one 2 s, and then goes on."""
SPOKE_BEFORE_S = 0.4
"""She is interrupted only if she was heard this long before: longer than her longest pause."""
ECHO = {"delayS": 0.18, "gain": 0.5}
"""A loudspeaker and a microphone in one room: half as loud."""
RECOGNITION_PAD_S = 0.4
LOCAL_TURNS = 8
LOCAL_GAP_S = 22.0
"""Its longest answers are as long, and the user does not speak over them."""
LOCAL_P50_S = 3.0
VOICE_TO_VOICE_P50_S, VOICE_TO_VOICE_P95_S = 1.0, 1.8
BARGE_IN_S = 0.45
RECOGNITION_POINTS = 2.0


def scripted() -> Callable[[str], str]:
    """Short answers in the question's language, one after the other."""
    turns: dict[Language, itertools.cycle[str]] = {lang: itertools.cycle(ANSWERS[lang]) for lang in ANSWERS}
    return lambda question: next(turns["zh" if is_chinese(question) else "en"])


def story(question: str) -> str:
    """A long answer in the question's language."""
    return STORIES["zh" if is_chinese(question) else "en"]


async def local(plan: Plan) -> list[Figure]:
    """As `talk`, in English, with the language model of this machine; the first answer only wakes it."""
    from chat import localmodel

    name = "end of speech to first sound, English, local language model"
    if importlib.util.find_spec(localmodel.PACKAGE) is None or not localmodel.WEIGHTS.is_file():
        return [Figure("local", name, "s", [], note=f"needs {localmodel.PACKAGE} and {localmodel.WEIGHTS.name}")]
    texts = QUESTIONS["en"][: 1 + (TURNS_QUICK if plan.quick else LOCAL_TURNS)]
    voices = await spoken((text, "en", speaker_of("en", n)) for n, text in enumerate(texts))
    tape = Tape(LEAD_S)
    for text, pcm in zip(texts, voices, strict=True):
        tape.say(text, "en", pcm)
        tape.pause(LOCAL_GAP_S)
    async with house(plan, None) as (server, api):
        conversation = await play(server, api, tape)
    whole, _, *stages = voice_to_voice(conversation.without_first(), NAMES["en"])
    whole.name, whole.bar = name, LOCAL_P50_S
    for figure in (whole, *stages):
        figure.scenario = "local"
    return [whole, *stages]


async def talk(plan: Plan) -> list[Figure]:
    """From the end of a question to the first sound of its answer, and what was recognised of it."""
    turns, gap_s = (TURNS_QUICK, GAP_QUICK_S) if plan.quick else (TURNS, GAP_S)
    figures: list[Figure] = []
    recognised: dict[Language, list[tuple[str, str]]] = {}
    voices: dict[Language, list[Pcm]] = {}
    for language in NAMES:
        lines = [(text, language, speaker_of(language, n)) for n, text in enumerate(QUESTIONS[language][:turns])]
        voices[language] = await spoken(lines)
    async with house(plan, scripted()) as (server, api):
        for language in NAMES:
            tape = Tape(LEAD_S)
            for text, pcm in zip(QUESTIONS[language], voices[language], strict=False):
                tape.say(text, language, pcm)
                tape.pause(gap_s)
            conversation = await play(server, api, tape)
            figures += voice_to_voice(conversation, NAMES[language])
            recognised[language] = transcripts(conversation)
    for language in NAMES:
        figures.append(await recognition(language, recognised[language], voices[language]))
    return figures


def voice_to_voice(conversation: Talk, name: str) -> list[Figure]:
    """How long answers took, and their stages."""
    whole = Figure("talk", f"end of speech to first sound, {name}", "s", [], VOICE_TO_VOICE_P50_S, "p50")
    stages = [Figure("talk", f"{name}: {what}", "s", []) for what in STAGES]
    for number, cue in enumerate(conversation.cues):
        until = conversation.until(number)
        sounded = conversation.first_sound(cue.ends_s)
        if conversation.sounded(cue.begins_s, cue.ends_s):
            whole.failed.append(f"she still spoke, or spoke too soon: {cue.text}")
        elif sounded is None or sounded >= until:
            whole.failed.append(f"no answer: {cue.text}")
        else:
            whole.values.append(sounded - cue.ends_s)
            for figure, value in zip(stages, stages_s(conversation, cue.ends_s, until, sounded), strict=True):
                figure.values += [] if value is None else [value]
    worst = Figure(whole.scenario, whole.name, "s", whole.values, VOICE_TO_VOICE_P95_S, "p95", failed=whole.failed)
    if name != NAMES["en"]:
        whole.bar = worst.bar = None
        return [whole, *stages]
    return [whole, worst, *stages]


STAGES = (
    "end of speech to its text",
    "end of speech to the end of the turn",
    "end of the turn to the answer's first text",
    "first text, or end of the turn if later, to her first sound as it is sent",
    "sent to heard",
)


def stages_s(conversation: Talk, ended: float, until: float, sounded: float) -> tuple[float | None, ...]:
    """Of one turn, as STAGES; what was not told is None."""
    events = conversation.events
    latency = events.named("latency", ended, until)
    final = events.named("transcript.final", ended, until)
    if not latency or not final:
        return (None,) * len(STAGES)
    text = final[0].data["text"]
    captions = [event for event in events.named("transcript.partial", ended, until) if event.data["text"] == text]
    told = latency[0].data
    began = events.named("speech.started", ended, until)
    return (
        captions[0].at - ended if captions else None,
        final[0].at - ended,
        told["first_text_s"],
        told["first_sound_s"],
        sounded - began[0].at if began else None,
    )


def transcripts(conversation: Talk) -> list[tuple[str, str]]:
    """What was said in each turn, and what was recognised."""
    pairs = []
    for number, cue in enumerate(conversation.cues):
        finals = conversation.events.named("transcript.final", cue.begins_s, conversation.until(number))
        pairs.append((cue.text, " ".join(event.data["text"] for event in finals)))
    return pairs


async def recognition(language: Language, recognised: list[tuple[str, str]], voices: Sequence[Pcm]) -> Figure:
    """Errors through the whole path beyond those of the same recogniser given the sentences themselves."""
    from asr.build import build_recognisers
    from config import sources
    from house.listening import Recognition, listening_settings

    settings = sources.load([])
    chain = build_recognisers(Recognition.of(settings, listening_settings(settings)))
    pad = np.zeros(round(RECOGNITION_PAD_S * RATE_HZ), np.float32)
    try:
        await chain.warm_up()
        direct = []
        for (text, _), pcm in zip(recognised, voices, strict=False):
            padded = soxr.resample(np.concatenate([pad, pcm, pad]), RATE_HZ, 16_000)
            direct.append((text, (await chain.transcribe(np.asarray(padded, np.float32))).text))
    finally:
        await chain.aclose()
    through, alone = heard.error_percent(recognised), heard.error_percent(direct)
    kind = "characters" if language == "zh" else "words"
    figure = Figure("talk", f"{NAMES[language]}: wrong {kind} beyond the model's own", "%", [max(0.0, through - alone)])
    figure.bar, figure.judge = RECOGNITION_POINTS, "worst"
    figure.note = f"{through:.1f} % through the whole path, {alone:.1f} % on the file; {len(recognised)} sentences"
    return figure


async def bargein(plan: Plan) -> list[Figure]:
    """What is said over her stops her; coughs, "mm-hm" and her own voice do not end her turn."""
    tape, murmurs, alone = await over_her(plan), await murmured(plan), await listened_to(plan)
    async with house(plan, story) as (server, api):
        figures = interruptions(await play(server, api, tape))
        figures += false_ones(await play(server, api, murmurs))
        figures += own_voice(await play(server, api, alone, echo=ECHO))
    return figures


async def over_her(plan: Plan) -> Tape:
    """A question, and others while each is answered at length."""
    count = INTERRUPTIONS_QUICK if plan.quick else INTERRUPTIONS
    lines = [FIRST, *OVER_HER[:count]]
    voices = await spoken((text, "en", speaker_of("en", n)) for n, text in enumerate(lines))
    # Another share of her 40 ms steps and of the listener's 32 ms windows each time.
    gaps = BEFORE_OVER_S * (1.6 if plan.quick else 1) + np.random.default_rng(3).uniform(0, 0.5, len(lines))
    tape = Tape(LEAD_S)
    for text, pcm, gap_s in zip(lines, voices, gaps, strict=True):
        tape.say(text, "en", pcm)
        tape.pause(float(gap_s))
    return tape


def interruptions(conversation: Talk) -> list[Figure]:
    """Of every cue but the first."""
    silence = Figure("bargein", "speech over her to silence", "s", [], BARGE_IN_S)
    decided = Figure("bargein", "speech over her to the decision", "s", [])
    meant = Figure("bargein", "speech over her to the end of her turn", "s", [])
    sound, events = conversation.sound, conversation.events
    for number, cue in enumerate(conversation.cues[1:], 1):
        until = conversation.until(number)
        if not conversation.sounded(cue.begins_s - SPOKE_BEFORE_S, cue.begins_s):
            silence.failed.append(f"she was not speaking: {cue.text}")
            continue
        within = sound.t < until
        quiet = analysis.last_sound(sound.t[within], sound.rms[within], cue.begins_s)
        paused = events.named("paused", cue.begins_s, until) or events.named("interrupted", cue.begins_s, until)
        if quiet is None or not paused:
            silence.failed.append(f"she did not stop: {cue.text}")
            continue
        silence.values.append(quiet - cue.begins_s)
        decided.values.append(paused[0].at - cue.begins_s)
        meant.values += [event.at - cue.begins_s for event in events.named("interrupted", cue.begins_s, until)[:1]]
    return [silence, decided, meant]


async def murmured(plan: Plan) -> Tape:
    """A question, and sounds during its answer that are no speech or not said to be heard."""
    [question] = await spoken([(FIRST, "en", speaker_of("en", 0))])
    murmurs = await spoken((text, "en", speaker_of("en", n)) for n, text in enumerate(LISTENING))
    sounds = [("a cough", cough()), *zip(LISTENING, murmurs, strict=True), ("another cough", cough(8))]
    tape = Tape(LEAD_S)
    tape.say(FIRST, "en", question)
    tape.pause(BEFORE_OVER_S + 1)
    for name, pcm in sounds[: 2 if plan.quick else None]:
        tape.say(name, "en", pcm, "false")
        tape.pause(BEFORE_FALSE_S)
    return tape


async def listened_to(plan: Plan) -> Tape:
    """A question, and silence during its answer."""
    [question] = await spoken([(FIRST, "en", speaker_of("en", 0))])
    tape = Tape(LEAD_S)
    tape.say(FIRST, "en", question)
    tape.pause(10 if plan.quick else 18)
    return tape


def false_ones(conversation: Talk) -> list[Figure]:
    """What coughs and "mm-hm" did to her."""
    ended = Figure("bargein", "turns ended by a cough or “mm-hm”", "", [], 0, "worst")
    paused = Figure("bargein", "of those during which she fell silent for a moment", "", [])
    length = Figure("bargein", "silence before she went on", "s", [])
    events = conversation.events
    for number, cue in enumerate(conversation.cues[1:], 1):
        until = conversation.until(number)
        if not conversation.sounded(cue.begins_s - SPOKE_BEFORE_S, cue.begins_s):
            ended.failed.append(f"she was not speaking: {cue.text}")
            continue
        stops, again = (events.named(name, cue.begins_s, until) for name in ("paused", "resumed"))
        ended.values.append(float(bool(events.named("interrupted", cue.begins_s, until))))
        paused.values.append(float(bool(stops)))
        if stops and again:
            length.values.append(again[0].at - stops[0].at)
        elif stops and not ended.values[-1]:
            ended.failed.append(f"she did not go on: {cue.text}")
    words = told_words(conversation)
    said = heard.units(STORIES["en"])[: len(words)]
    lost = Figure("bargein", "words lost or said twice around those pauses", "", [float(heard.errors(said, words))], 0)
    lost.judge, lost.note = "worst", f"of {len(words)}"
    return [ended, paused, length, lost]


def told_words(conversation: Talk) -> list[str]:
    """Of the first story, in the order in which they were heard."""
    turns = [event.data["turn"] for event in conversation.events.named("word")]
    first = turns[0] if turns else None
    words = [event.data["text"] for event in conversation.events.named("word") if event.data["turn"] == first]
    return heard.units(" ".join(words))


def own_voice(conversation: Talk) -> list[Figure]:
    """What her echo did to her."""
    begins = conversation.cues[0].ends_s
    stops = Figure("bargein", "her own voice in the microphone ended her turn", "times", [], 0, "worst")
    stops.values = [float(len(conversation.events.named("interrupted", begins)))]
    if not conversation.sounded(begins, conversation.ends):
        stops.failed.append("she did not speak")
    stops.note = f"{ECHO['delayS'] * 1000:.0f} ms late, half as loud, no canceller in the browser"
    moments = Figure("bargein", "and made her pause", "times", [])
    moments.values = [float(len(conversation.events.named("paused", begins)))]
    return [stops, moments]
