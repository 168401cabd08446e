"""Gives the peer the very FaceNet that visavis runs: `python weights.py facenet.onnx facenet.pt`.

Owns the way from the names in our ONNX file, which are those of the TensorFlow graph, to those of facenet-pytorch's module. The
file has batch norms and the scales of residual branches in its weights; here they are undone, so that the module computes all
that it would with weights of its own.
"""

import re
import sys

import numpy
import onnx
import torch
from facenet_pytorch import InceptionResnetV1
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d
from onnx import numpy_helper

# TensorFlow's parts of the network and the module's, in order.
PARTS = [
    (r"Conv2d_1a_", "conv2d_1a"),
    (r"Conv2d_2a_", "conv2d_2a"),
    (r"Conv2d_2b_", "conv2d_2b"),
    (r"Conv2d_3b_", "conv2d_3b"),
    (r"Conv2d_4a_", "conv2d_4a"),
    (r"Conv2d_4b_", "conv2d_4b"),
    *((rf"Repeat/block35_{at + 1}/", f"repeat_1.{at}") for at in range(5)),
    (r"Mixed_6a/", "mixed_6a"),
    *((rf"Repeat_1/block17_{at + 1}/", f"repeat_2.{at}") for at in range(10)),
    (r"Mixed_7a/", "mixed_7a"),
    *((rf"Repeat_2/block8_{at + 1}/", f"repeat_3.{at}") for at in range(5)),
    (r"Block8/", "block8"),
]


def convert(path):
    """The module with the file's weights; fails where a shape differs or anything is left over."""
    values = {it.name: numpy_helper.to_array(it) for it in onnx.load(path).graph.initializer}
    module = InceptionResnetV1(pretrained=None, classify=False).eval()
    used = set()
    with torch.no_grad():
        for pattern, name in PARTS:
            own = re.compile(rf"InceptionResnetV1/{pattern}.*weights$")
            # Branches come in the order of their names, and the convolution that joins them last.
            found = sorted(it for it in values if own.match(it))
            part = module.get_submodule(name)
            layers = [part] if isinstance(part, BasicConv2d) else list(convolutions(part))
            if len(found) != len(layers):
                sys.exit(f"{name}: {len(found)} convolutions in the file, {len(layers)} in the module")
            for layer, weights in zip(layers, found):
                bias = weights.removesuffix("weights") + "bias"
                used |= {weights, bias}
                fill(layer, values[weights], values[bias], getattr(part, "scale", 1.0))
        rest = [it for it in values if it not in used and values[it].ndim > 0 and values[it].size > 512]
        [dense] = [it for it in rest if values[it].size == 512 * 1792]
        [bias] = [it for it in values if it not in used and values[it].shape == (512,)]
        weights = values[dense] if values[dense].shape == (512, 1792) else values[dense].T
        module.last_linear.weight.copy_(tensor(weights))
        identity(module.last_bn, values[bias])
    return module


def convolutions(part):
    """A block's layers in the order of TensorFlow's names: branch by branch, then what joins them."""
    for name, child in part.named_children():
        if name.startswith("branch"):
            yield from (it for it in child.modules() if isinstance(it, BasicConv2d))
    if hasattr(part, "conv2d"):
        yield part.conv2d


def fill(layer, weights, bias, scale):
    if isinstance(layer, BasicConv2d):
        copy(layer.conv.weight, weights)
        identity(layer.bn, bias)
    else:
        copy(layer.weight, weights / scale)
        copy(layer.bias, bias / scale)


def identity(norm, bias):
    """A batch norm that only adds."""
    norm.weight.fill_(1.0)
    copy(norm.bias, bias)
    norm.running_mean.fill_(0.0)
    norm.running_var.fill_(1.0 - norm.eps)


def copy(parameter, values):
    if tuple(parameter.shape) != values.shape:
        sys.exit(f"a shape of {tuple(parameter.shape)} in the module is {values.shape} in the file")
    parameter.copy_(tensor(values))


def tensor(values):
    return torch.from_numpy(numpy.array(values, order="C"))


if __name__ == "__main__":
    torch.save(convert(sys.argv[1]).state_dict(), sys.argv[2])
