"""Recognition: an utterance in, its text out; one file for each engine, and a chain over them.

There is no streaming engine for English beside Whisper: Moonshine tiny-en (moonshine-voice 0.0.65), the one whose
weights a registry carries, took 0.29 s of a processor for a sentence of 2.5 s and had 5.6 % of its words wrong, where
whisper-base over a short window took 0.24 s and had 0.5 % wrong, language told apart included (44 sentences,
20 Nov 2026).
"""
