"""Write the trained network as ONNX: `python -m training.mouth.export --model FILE.pt --data FILE --out mouth.onnx`.

The recipe is computed by the runtime, the pictures it moves and mixes are constant outputs, and `engines/lite/mouth.py`
does the moving. Convolutions run in int8 (calibrated on training rows), the rest in float32, stored as float16.
"""

# mypy: disable-error-code="import-not-found,misc"
# torch and onnx are installed where networks are trained, not where they run.

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from engines.lite.mouth import PICTURES, RECIPE
from training.mouth.net import POSE, WEIGHTS, MouthNet
from training.mouth.train import load

OPSET = 17
MIN_HALVED = 256
"""Smaller tensors stay float32: they hold shapes and scales, and save nothing."""


KEPT_FLOAT = "/residual/Conv"
"""Its outputs are shades, where steps of int8 would show: 0.02/255 of error for 0.03 ms."""
CALIBRATION_ROWS = 256
CALIBRATION_BATCH = 4


class Feeds(CalibrationDataReader):
    """Training rows, evenly spread, in batches."""

    def __init__(self, data: Path) -> None:
        arrays = np.load(data)
        spread = np.linspace(0, len(arrays["w"]) - 1, CALIBRATION_ROWS).astype(int)
        batches = spread.reshape(-1, CALIBRATION_BATCH)
        self._feeds = iter([{"weights": arrays["w"][b], "pose": arrays["pose"][b]} for b in batches])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


class Exported(nn.Module):
    """The recipe, with what is added to pixels on their scale of 0..255."""

    def __init__(self, net: MouthNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, weights: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        recipe = self.net.recipe(weights, pose)
        return recipe.flow, recipe.inner_flow, recipe.opening, recipe.y * 255, recipe.uv * 255


def halve(graph: onnx.GraphProto) -> None:
    """Store large float32 initialisers as float16 behind a Cast, which the runtime folds away at load."""
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_HALVED:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))


def add_picture(graph: onnx.GraphProto, name: str, picture: NDArray[np.float32]) -> None:
    """Append a constant output, stored as float16."""
    graph.initializer.append(numpy_helper.from_array(picture.astype(np.float16), f"{name}.half"))
    graph.node.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, picture.shape))


def quantize(path: Path, data: Path) -> None:
    """Turn the convolutions of the file to int8. 7 bits of weight, as processors without VNNI overflow with 8."""
    quantize_static(
        path, path, Feeds(data), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
        reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        nodes_to_exclude=[KEPT_FLOAT],
    )  # fmt: skip


def export(net: MouthNet, data: Path | None, out: Path) -> None:
    """Write `out`; without `data` everything stays float32."""
    example = (torch.zeros(4, WEIGHTS), torch.zeros(4, POSE))
    axes = {name: {0: "batch"} for name in ("weights", "pose", *RECIPE)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exported(net.eval()), example, str(out), dynamo=False, opset_version=OPSET,
            input_names=["weights", "pose"], output_names=list(RECIPE), dynamic_axes=axes,
        )  # fmt: skip
    if data:
        quantize(out, data)
    model = onnx.load(out)
    halve(model.graph)
    for name in PICTURES:
        add_picture(model.graph, name, getattr(net, name).detach().numpy() * 255)
    onnx.checker.check_model(model)
    onnx.save(model, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="what train wrote")
    parser.add_argument("--data", type=Path, help="what prepare wrote, to calibrate int8 by; without it: float32")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx to write")
    options = parser.parse_args()
    export(load(options.model), options.data, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
