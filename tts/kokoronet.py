"""The Kokoro network: phoneme ids to sound, without the silence around it, and how long each phoneme lasts.

The network makes 0.4 s of silence before and up to 0.9 s behind every text, which costs as much as speech. Shorter
durations would clip the speech, since pitch and energy are predicted with the silence in place; so they are left alone,
and features, pitch and energy are sliced on their way to the decoder, which does nine tenths of the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from media import Pcm
from tts import onnxpatch

SAMPLE_RATE_HZ = 24_000
FRAME_S = 0.025
"""One unit of the durations: 600 samples."""
MAX_PHONEMES = 509
HEAD_FRAMES, TAIL_FRAMES = 4, 6
"""Silence the decoder still gets: less clips soft onsets and decays."""
STYLE_SIZE = 256
_DURATIONS = "/encoder/Clip_output_0"
_FEATURES, _PITCH, _ENERGY = "/encoder/MatMul_1_output_0", "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0"


class KokoroNetwork:
    """One loaded network; `run` is called from one thread at a time.

    Args:
        path: an int8 ONNX file, as the publisher or kokoro-onnx made it; they differ in the names of input and output.
        threads: of ONNX Runtime. They inherit the niceness of the thread that loads.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = bytearray(path.read_bytes())
        _slice_decoder_input(model)
        self._session = onnxruntime.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])
        names = {value.name for value in self._session.get_inputs()}
        self._ids_name = "input_ids" if "input_ids" in names else "tokens"
        self._sound_name = next(o.name for o in self._session.get_outputs() if o.name != _DURATIONS)

    def run(
        self, ids: list[int], style: NDArray[np.float32], speed: float, silent: int, options: Any, pitch: float = 1.0
    ) -> tuple[Pcm, NDArray[np.float64]]:
        """Speak phonemes.

        Args:
            ids: phoneme ids without padding, at most MAX_PHONEMES.
            style: [1, STYLE_SIZE], the voice at this length.
            speed: 1 is the voice's own pace.
            silent: how many of the last ids make no sound (marks, tones).
            options: `onnxruntime.RunOptions`; setting its `terminate` ends the run with an error.
            pitch: factor on the predicted fundamental frequency; the decoder is a source and a filter, so its formants
                stay where they are.

        Returns:
            Samples at SAMPLE_RATE_HZ, and the seconds [len(ids) + 1] at which each id begins and the last ends.
        """
        padded = np.array([[0, *ids, 0]], np.int64)
        size = padded.shape[1]
        marks = np.zeros((size, 3), np.float32)
        marks[0, 0] = 1
        marks[size - 1 - silent :, 1] = 1
        marks[:, 2] = 1
        inputs = {
            self._ids_name: padded,
            "style": style,
            "speed": np.array([speed], np.float32),
            "visage_marks": marks,
            "visage_kept": np.array([HEAD_FRAMES, TAIL_FRAMES, 0], np.float32),
            "visage_pitch": np.array([pitch], np.float32),
        }
        waveform, durations = self._session.run([self._sound_name, _DURATIONS], inputs, options)
        lengths = durations.reshape(-1)
        ends = (np.cumsum(lengths) - max(0.0, lengths[0] - HEAD_FRAMES)) * FRAME_S
        return waveform.reshape(-1), ends[:-1].astype(np.float64)


def _slice_decoder_input(model: bytearray) -> None:
    """Cut frames off both ends of what the decoder gets, and give the durations out.

    `visage_marks` [ids, 3] says which ids are silence at the head, at the tail, and all of them; `visage_kept` [3] how
    many frames of head and tail are kept, `visage_pitch` [1] what the pitch is multiplied by.
    """
    whole = {name: name[:-1] + "w" for name in (_FEATURES, _PITCH, _ENERGY)}
    for name, renamed in whole.items():
        onnxpatch.rename_output(model, name, renamed)
    node = onnxpatch.node
    onnxpatch.extend(
        model,
        onnxpatch.input_value("visage_marks", onnxpatch.FLOAT, ["sequence_length", 3]),
        onnxpatch.input_value("visage_kept", onnxpatch.FLOAT, [3]),
        onnxpatch.input_value("visage_pitch", onnxpatch.FLOAT, [1]),
        onnxpatch.output_value(_DURATIONS, onnxpatch.FLOAT, [1, "sequence_length"]),
        onnxpatch.constant("visage_axis_1", 1),
        onnxpatch.constant("visage_axis_2", 2),
        node("MatMul", [_DURATIONS, "visage_marks"], ["visage_silence"]),
        node("Sub", ["visage_silence", "visage_kept"], ["visage_surplus"]),
        node("Relu", ["visage_surplus"], ["visage_cut"]),
        node("Cast", ["visage_cut"], ["visage_cut_int"], to=onnxpatch.INT64),
        node("Squeeze", ["visage_cut_int"], ["visage_cut_flat"]),
        node("Split", ["visage_cut_flat"], ["visage_begin", "visage_tail", "visage_all"], num_outputs=3),
        node("Sub", ["visage_all", "visage_tail"], ["visage_end"]),
        # Pitch and energy have two values a frame.
        node("Add", ["visage_begin", "visage_begin"], ["visage_begin_2"]),
        node("Add", ["visage_end", "visage_end"], ["visage_end_2"]),
        node("Slice", [whole[_FEATURES], "visage_begin", "visage_end", "visage_axis_2"], [_FEATURES]),
        node("Slice", [whole[_PITCH], "visage_begin_2", "visage_end_2", "visage_axis_1"], ["visage_pitch_cut"]),
        node("Mul", ["visage_pitch_cut", "visage_pitch"], [_PITCH]),
        node("Slice", [whole[_ENERGY], "visage_begin_2", "visage_end_2", "visage_axis_1"], [_ENERGY]),
    )
