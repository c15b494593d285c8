"""Small models of every family, for the laws of unit groups: `ZOO[name]()` gives a model and its example inputs."""

import torch
import torch.nn.functional as F
from torch import nn

from fedma.seeds import generator, global_generator, number

ZOO = {}


def entry(*inputs, **keywords):
    """Register a model class with the shapes of its inputs: a tuple of floats, or (vocabulary, shape) for words."""

    def register(build):
        def made():
            random = generator(0, "zoo inputs", build.__name__)
            named = {name: _input(spec, random) for name, spec in keywords.items()}
            with global_generator(number(0, "zoo", build.__name__)):
                return build(), named or tuple(_input(spec, random) for spec in inputs)

        ZOO[build.__name__] = made
        return build

    return register


def _input(spec, random):
    if isinstance(spec[1], tuple):
        return torch.randint(0, spec[0], spec[1], generator=random)
    return torch.randn(spec, generator=random)


def conv(i, o, k=3, **settings):
    return nn.Conv2d(i, o, k, padding=k // 2, **settings)


@entry((2, 5))
def mlp():
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Sigmoid(), nn.Linear(6, 3))


@entry((2, 5))
class MatmulParameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(5, 7))
        self.shift = nn.Parameter(torch.randn(7))
        self.second = nn.Parameter(torch.randn(3, 7))

    def forward(self, x):
        return (x @ self.first + self.shift).tanh() @ self.second.T


@entry((2, 1, 28, 28))
class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 6, 5)
        self.fc1, self.fc2 = nn.Linear(96, 10), nn.Linear(10, 3)

    def features(self, x):
        return F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))), 2)

    def forward(self, x):
        return F.log_softmax(self.fc2(F.relu(self.fc1(self.features(x).view(len(x), -1)))), 1)


@entry((2, 1, 28, 28))
class LeNetOfOneSize(LeNet):
    """The size of the flattened features is written down: the last convolution cannot grow."""

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(self.features(x).view(-1, 96))))


def _vgg(norm):
    layers, channels = [], [3, 4, 5, 6, 7, 8, 9]
    for k in range(6):
        layers += [conv(channels[k], channels[k + 1], bias=not norm)]
        layers += [nn.BatchNorm2d(channels[k + 1])] if norm else []
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)] if k % 2 else [nn.ReLU()]
    head = [nn.Flatten(), nn.Dropout(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 11), nn.ReLU(), nn.Linear(11, 10)]
    return nn.Sequential(*layers, *head)


@entry((2, 3, 16, 16))
def vgg9():
    return _vgg(norm=False)


@entry((2, 3, 16, 16))
def vgg9_bn():
    return _vgg(norm=True)


class BasicBlock(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.conv1, self.bn1 = conv(i, o, stride=stride, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = conv(o, o, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        short = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        self.downsample = short if stride > 1 or i != o else None

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


@entry((2, 3, 8, 8))
class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.layer1, self.layer2 = BasicBlock(4, 4), nn.Sequential(BasicBlock(4, 6, 2), BasicBlock(6, 6))
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.layer2(self.layer1(self.stem(x))), 1).flatten(1))


@entry((2, 3, 8, 8))
class PaddedShortcut(nn.Module):
    """The shortcut of the first residual networks: every second position, zero channels around."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv1, self.conv2 = conv(3, 4), conv(4, 8, stride=2), conv(8, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.fc(F.relu(self.conv2(F.relu(self.conv1(x))) + short).mean((2, 3)))


@entry((2, 3, 8, 8))
class ResNeXt(nn.Module):
    """Grouped convolution with batch norm in a bottleneck."""

    def __init__(self):
        super().__init__()
        self.stem, self.reduce, self.expand = conv(3, 6), conv(6, 12, 1), conv(12, 6, 1)
        self.grouped, self.bn = conv(12, 12, groups=3), nn.BatchNorm2d(12)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.expand(F.relu(self.bn(self.grouped(F.relu(self.reduce(x)))))))
        return self.fc(x.mean((2, 3)))


@entry((2, 3, 8, 8))
class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 3 * k) for k in range(3))
        self.convs = nn.ModuleList(conv(4 + 3 * k, 3, bias=False) for k in range(3))
        self.transition, self.fc = conv(13, 6, 1), nn.Linear(6, 5)

    def forward(self, x):
        features = [self.stem(x)]
        for norm, layer in zip(self.norms, self.convs, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, 1)))))
        return self.fc(F.avg_pool2d(self.transition(torch.cat(features, 1)), 8).flatten(1))


@entry((2, 3, 8, 8))
class MobileNet(nn.Module):
    """Depthwise convolution, squeeze and excitation, inverted residual."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand, self.project = conv(3, 4), conv(4, 8, 1), conv(8, 4, 1)
        self.depthwise, self.bn = conv(8, 8, groups=8, bias=False), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = F.hardswish(self.stem(x))
        y = F.hardswish(self.bn(self.depthwise(F.hardswish(self.expand(x)))))
        y = y * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return self.fc((x + self.project(y)).mean([2, 3]))


@entry((2, 3, 8, 8))
class DepthwiseMultiplier(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.depthwise, self.fc = conv(3, 4), conv(4, 12, groups=4), nn.Linear(12, 5)

    def forward(self, x):
        return self.fc(F.relu(self.depthwise(F.relu(self.stem(x)))).amax((2, 3)))


@entry((2, 3, 8, 8))
class ShuffleNet(nn.Module):
    """Channels split, shuffled and concatenated."""

    def __init__(self):
        super().__init__()
        self.stem, self.fc = conv(3, 8), nn.Linear(8, 5)
        self.units = nn.ModuleList(
            nn.Sequential(conv(4, 4, 1), nn.BatchNorm2d(4), conv(4, 4, groups=4), conv(4, 4, 1), nn.ReLU())
            for _ in range(2)
        )

    def forward(self, x):
        x = F.relu(self.stem(x))
        for unit in self.units:
            kept, worked = x.chunk(2, dim=1)
            x = torch.cat([kept, unit(worked)], 1)
            b, c, h, w = x.shape
            x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.fc(x.mean((2, 3)))


def _norm_block(i, o):
    return nn.Sequential(conv(i, o), nn.GroupNorm(4, o), nn.PReLU(o))


@entry((2, 3, 8, 8))
class UNet(nn.Module):
    """Group norm, transposed convolution, a skip that is concatenated, a slope per channel."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.up1 = _norm_block(3, 8), _norm_block(8, 16), _norm_block(16, 8)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        return self.out(self.up1(torch.cat([a, self.up(self.down2(F.max_pool2d(a, 2)))], 1)))


@entry((2, 3, 8, 8))
class StyleNet(nn.Module):
    """Instance norm, reflection padding, upsampling."""

    def __init__(self):
        super().__init__()
        self.encode, self.norm1 = (
            nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(6, affine=True),
        )
        self.decode, self.norm2, self.out = conv(6, 4), nn.InstanceNorm2d(4), conv(4, 3)

    def forward(self, x):
        x = F.avg_pool2d(F.leaky_relu(self.norm1(self.encode(x))), 2)
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return torch.sigmoid(self.out(F.elu(self.norm2(self.decode(x)))))


@entry((2, 3, 16))
class Conv1dNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 4, 3, dilation=2), nn.Conv1d(4, 6, 3, stride=2)
        self.norm, self.fc = nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x):
        x = F.max_pool1d(F.softplus(self.conv1(x)), 2)
        return self.fc(self.norm(self.conv2(x)).amax(-1))


@entry((2, 2, 6, 6, 6))
def conv3d():
    return nn.Sequential(
        nn.Conv3d(2, 4, 3),
        nn.BatchNorm3d(4),
        nn.SiLU(),
        nn.AdaptiveAvgPool3d(2),
        nn.ConvTranspose3d(4, 5, 2),
        nn.Flatten(),
        nn.Linear(135, 3),
    )


@entry((2, 3, 8, 8))
class GroupedTransposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.up, self.out = conv(3, 6), nn.ConvTranspose2d(6, 9, 2, 2, groups=3), conv(9, 2)
        self.deep = nn.ConvTranspose2d(6, 6, 2, groups=6)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.out(F.relu(self.up(x))), F.relu(self.deep(x)).sum((1, 2, 3))


@entry((2, 3, 6, 6))
class SubPixel(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(3, 5), conv(5, 16), conv(16, 12)

    def forward(self, x):
        x = F.pixel_shuffle(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        return F.pixel_shuffle(self.conv3(F.pixel_unshuffle(x, 2)), 2)


@entry((2, 3, 6, 6))
class Unfolded(nn.Module):
    """Convolution by hand: unfold, then a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear, self.fc = conv(3, 4), nn.Linear(36, 6), nn.Linear(6, 2)

    def forward(self, x):
        patches = F.unfold(F.relu(self.conv(x)), 3).transpose(1, 2)
        return self.fc(F.relu(self.linear(patches)).mean(1))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise, self.norm = conv(width, width, 7, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.1))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.scale * self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


@entry((2, 3, 8, 8))
def conv_next():
    return nn.Sequential(
        nn.Conv2d(3, 4, 2, 2),
        ConvNeXtBlock(4),
        ConvNeXtBlock(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


@entry((2, 3, 8, 8))
class MlpMixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm1, self.norm2 = nn.Conv2d(3, 6, 2, 2), nn.LayerNorm(6), nn.LayerNorm(6)
        self.tokens = nn.Sequential(nn.Linear(16, 5), nn.GELU(), nn.Linear(5, 16))
        self.channels = nn.Sequential(nn.Linear(6, 7), nn.GELU(), nn.Linear(7, 6))
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.fc((x + self.channels(self.norm2(x))).mean(1))


@entry((2, 3, 8, 8))
class Inception(nn.Module):
    """Parallel branches, batch norm after the concatenation."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList([conv(3, 2, 1), conv(3, 3, 3), conv(3, 4, 5)])
        self.norm, self.mix, self.fc = nn.BatchNorm2d(9), conv(9, 5), nn.Linear(80, 3)

    def forward(self, x):
        x = F.relu(self.norm(torch.cat([branch(x) for branch in self.branches], 1)))
        return self.fc(F.max_pool2d(self.mix(x), 2).reshape(len(x), -1))
