"""The network: log-mel window in, 16 mouth channels out, and its ONNX form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from engines.lite.ears import CHANNELS, MEL_BANDS, MEL_FRAMES
from training.ears.targets import FUNNEL, PUCKER, VISEMES

LAYERS = ((96, 5, 1), (128, 5, 2), (160, 3, 1), (160, 3, 2))
"""Output channels, kernel and stride of each convolution over time."""
HIDDEN = 192
GATES = 2
OPSET = 17
ROUND_WHEN_PRESSED = 0.35
"""Share of the rounding that pressed lips keep, as in targets.mouth_track."""


def pressed_shape() -> NDArray[np.float32]:
    """Mouth channels of pressed lips, [16]."""
    return VISEMES["PP"]


def kept_when_pressed() -> NDArray[np.float32]:
    """Share of each channel's open value that pressed lips keep, [16]."""
    kept = np.zeros(CHANNELS, np.float32)
    kept[[FUNNEL, PUCKER]] = ROUND_WHEN_PRESSED
    return kept


class EarsNet(nn.Module):
    """Convolutions over time, then one hidden layer that sees every place of the window.

    Two gates make closures crisp: `pressed` lays the lips of p, b and m over the open shape, `rest` closes the mouth.
    """

    mean: Tensor
    scale: Tensor
    pressed: Tensor
    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(MEL_BANDS))
        self.register_buffer("scale", torch.ones(MEL_BANDS))
        self.register_buffer("pressed", torch.from_numpy(pressed_shape()))
        self.register_buffer("kept", torch.from_numpy(kept_when_pressed()))
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        width, frames = MEL_BANDS, MEL_FRAMES
        for channels, kernel, stride in LAYERS:
            self.convolutions.append(nn.Conv1d(width, channels, kernel, stride, bias=False))
            self.norms.append(nn.BatchNorm1d(channels))
            width, frames = channels, (frames - kernel) // stride + 1
        self.hidden = nn.Conv1d(width, HIDDEN, frames)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Conv1d(HIDDEN, CHANNELS + GATES, 1)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Mel [B, MEL_FRAMES + 4 (N - 1), MEL_BANDS] -> mouth [B, N, 16] and gate logits [B, N, 2].

        One window, or N of them 40 ms apart: the strides multiply to the mel frames of a picture and nothing is padded,
        so a run of windows costs hardly more than one and gives the very same numbers.
        """
        x = ((mel - self.mean) * self.scale).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        x = self.head(self.dropout(torch.relu(self.hidden(x)))).float().transpose(1, 2)
        shape, logits = x[..., :CHANNELS], x[..., CHANNELS:]
        gates = torch.sigmoid(logits)
        press, rest = gates[..., :1], gates[..., 1:]
        shape = shape * (1 - rest)
        return shape * (1 - press * (1 - self.kept)) + press * self.pressed, logits


def _folded(convolution: nn.Conv1d, norm: nn.BatchNorm1d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of a convolution with its batch normalization folded in."""
    assert norm.running_var is not None and norm.running_mean is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = convolution.weight * factor[:, None, None]
    bias = norm.bias - norm.running_mean * factor
    return weight.detach().numpy(), bias.detach().numpy()


class _Graph:
    """Nodes and constants of an ONNX graph under construction; big constants are stored at half precision."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        if value.size < 4096:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
            return name
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value.astype(np.float16)), f"{name}_half"))
        return self.add("Cast", [f"{name}_half"], name, to=TensorProto.FLOAT)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


def export(net: EarsNet, path: Path, press_bias: float = 0.0, rest_bias: float = 0.0) -> None:
    """Write the network as ONNX; the biases are added to the gates' logits."""
    net = net.eval().cpu()
    graph = _Graph()
    x = graph.add("Sub", ["mel", graph.constant("mean", net.mean.numpy())], "centred")
    x = graph.add("Mul", [x, graph.constant("scale", net.scale.numpy())], "scaled")
    x = graph.add("Transpose", [x], "bands_first", perm=[0, 2, 1])
    for k, (convolution, norm) in enumerate(zip(net.convolutions, net.norms, strict=True)):
        assert isinstance(convolution, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d)
        weight, bias = _folded(convolution, norm)
        names = [x, graph.constant(f"conv{k}_weight", weight), graph.constant(f"conv{k}_bias", bias)]
        x = graph.add("Conv", names, f"conv{k}", kernel_shape=[LAYERS[k][1]], strides=[LAYERS[k][2]])
        x = graph.add("Relu", [x], f"relu{k}")
    x = graph.add("Flatten", [x], "flat", axis=1)
    for name, layer in (("hidden", net.hidden), ("head", net.head)):
        weight, bias = layer.weight.detach().flatten(1).numpy(), layer.bias.detach().numpy().copy()
        if name == "head":
            bias[CHANNELS:] += [press_bias, rest_bias]
        names = [x, graph.constant(f"{name}_weight", weight), graph.constant(f"{name}_bias", bias)]
        x = graph.add("Gemm", names, f"{name}_out", transB=1)
        if name == "hidden":
            x = graph.add("Relu", [x], "hidden_relu")
    graph.constants.append(numpy_helper.from_array(np.array([CHANNELS, 1, 1], np.int64), "parts"))
    graph.nodes.append(helper.make_node("Split", [x, "parts"], ["shape", "press_logit", "rest_logit"], axis=1))
    one = graph.constant("one", np.ones(1, np.float32))
    press = graph.add("Sigmoid", ["press_logit"], "press")
    moving = graph.add("Sub", [one, graph.add("Sigmoid", ["rest_logit"], "rest")], "moving")
    shape = graph.add("Mul", ["shape", moving], "opened")
    lost = graph.add("Mul", [press, graph.constant("lost", 1 - net.kept.numpy())], "lost_share")
    shape = graph.add("Mul", [shape, graph.add("Sub", [one, lost], "kept_share")], "kept_shape")
    closed = graph.add("Mul", [press, graph.constant("pressed", net.pressed.numpy())], "closed")
    graph.add("Add", [shape, closed], "mouth")
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", MEL_FRAMES, MEL_BANDS])
    mouth = helper.make_tensor_value_info("mouth", TensorProto.FLOAT, ["batch", CHANNELS])
    made = helper.make_graph(graph.nodes, "ears", [mel], [mouth], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
