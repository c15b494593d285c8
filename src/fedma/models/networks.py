"""The networks of the papers, as plain `nn.Module`s."""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn


def mlp(input_shape: tuple[int, ...], classes: int, *, hidden: tuple[int, ...] = (100,)) -> nn.Module:
    """Fully connected layers with ReLU: PFNM's networks of 100 neurons a layer."""
    sizes = [int(torch.Size(input_shape).numel()), *hidden]
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    for number, (width_in, width_out) in enumerate(pairwise(sizes), 1):
        layers += [(f"fc{number}", nn.Linear(width_in, width_out)), (f"relu{number}", nn.ReLU())]
    return nn.Sequential(OrderedDict([*layers, ("output", nn.Linear(sizes[-1], classes))]))


def cnn(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A small network for small images: two 3×3 convolutions (16, 32 channels), each pooled, and 64 neurons."""
    channels, height, width = input_shape
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(32 * (height // 4) * (width // 4), 64),
            relu3=nn.ReLU(),
            output=nn.Linear(64, classes),
        )
    )


def lenet(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """LeNet as in FedMA's experiments: 5×5 convolutions of 20 and 50 channels, 500 neurons.

    Source: FedMA, appendix (MNIST). As in the authors' code, no activation follows the 500 neurons.
    """
    channels, height, width = input_shape
    side = [(n - 4) // 2 for n in ((height - 4) // 2, (width - 4) // 2)]
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 20, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(50 * side[0] * side[1], 500),
            output=nn.Linear(500, classes),
        )
    )


def vgg9(input_shape: tuple[int, ...], classes: int, *, batch_norm: bool = False) -> nn.Module:
    """VGG-9 as in FedMA's experiments: 3×3 convolutions 32, 64 | 128, 128 | 256, 256, then 512 and 512 neurons.

    Source: FedMA, appendix (CIFAR-10). Departure: no dropout; batch normalisation on request.
    """
    channels, height, width = input_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out in enumerate((32, 64, 128, 128, 256, 256), 1):
        layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1)
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(out)
        layers[f"relu{number}"] = nn.ReLU()
        if number % 2 == 0:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = out
    layers["flatten"] = nn.Flatten()
    for number, (width_in, width_out) in enumerate(((256 * (height // 8) * (width // 8), 512), (512, 512)), 1):
        layers[f"fc{number}"] = nn.Linear(width_in, width_out)
        layers[f"relu_fc{number}"] = nn.ReLU()
    layers["output"] = nn.Linear(512, classes)
    return nn.Sequential(layers)
