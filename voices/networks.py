"""Loads networks whose graphs are ours and whose numbers lie in the checkpoints that their authors published.

A graph here refers to its numbers, as ONNX external data, by file, offset and length. So nothing is converted, and the
pickle in a checkpoint is never run. `training/external.py` writes such graphs.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from errors import EngineError


def load(graph: Path, checkpoint: Path, subject: str) -> onnxruntime.InferenceSession:
    """A session on one thread that never spins.

    Args:
        graph: the ONNX file.
        checkpoint: by the name that the graph has for it.
        subject: whose network it is, for the error.

    Raises:
        EngineError: the checkpoint is missing, or is not what the graph was made for.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(checkpoint.parent))
    try:
        return onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but this.
        raise EngineError(subject, f"{checkpoint} cannot be loaded: {error}", retryable=False) from error
