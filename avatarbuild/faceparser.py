"""The face parser that a registry carries: BiSeNetV2, in ONNX Runtime, where MuseTalk's own cannot be had.

It knows the same 19 classes of CelebAMask-HQ and is looked at through the same crop, so its masks take the same way
(`engines.musetalk.masks`). The graph lies beside this module and reads its weights from `models/`
(`training/faces/parser.py`).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from errors import NotFound, Unprocessable

WEIGHTS = Path("bisenetv2-celebamask") / "weights.bin"
"""Under the directory of all downloaded weights."""
PULL = f"python app.py weights pull {WEIGHTS}"
WEIGHTS_BYTES = 9_799_464
GRAPH = Path(__file__).with_name("weights") / "face_parser.onnx"
SIDE = 512
THREADS = 2


class FaceParser:
    """Labels faces, about ten a second on one core; called from one thread at a time."""

    def __init__(self, models: Path) -> None:
        """Load the weights from the directory of all downloaded weights.

        Raises:
            NotFound: they are not there; the message says what gets them.
            Unprocessable: the file is damaged.
        """
        path = models / WEIGHTS
        if not path.is_file():
            raise NotFound(f"{path} is not there; to get it: {PULL}")
        if path.stat().st_size != WEIGHTS_BYTES:
            found = f"{path.stat().st_size:,} bytes, not {WEIGHTS_BYTES:,}"
            raise Unprocessable(f"{path} is cut short or another file: it has {found}; to get it whole: {PULL}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        self._session = onnxruntime.InferenceSession(GRAPH.read_bytes(), options, providers=["CPUExecutionProvider"])

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The classes 0..18 of a picture, uint8 [h,w,3] RGB, scaled to 512 x 512: uint8 [512,512]."""
        how = cv2.INTER_AREA if min(rgb.shape[:2]) > SIDE else cv2.INTER_LINEAR
        scaled = np.asarray(cv2.resize(rgb, (SIDE, SIDE), interpolation=how), np.float32) / 127.5 - 1
        (labels,) = self._session.run(None, {"picture": np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])})
        return np.asarray(labels[0], np.uint8)
