"""What every simulator is given: the works, their models and data, and the clock. Needs PyTorch and NumPy only."""

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

SEED = 0
"""Of the partition and the initial weights."""
EVALUATION_BATCH = 125
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Work:
    """Federated averaging of one local epoch: so many clients, of which a cohort takes part in each round."""

    name: str
    title: str
    model: str
    data: str
    clients: int
    cohort: int
    samples: int
    test: int
    rounds: int
    lr: float = 0.01
    momentum: float = 0.9
    batch: int = 32


class CharLSTM(nn.Module):
    """The next character, from the last state of one layer."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 8)
        self.recurrent = nn.LSTM(8, 256, batch_first=True)
        self.output = nn.Linear(256, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(tokens))
        return self.output(states[:, -1])


def lenet(classes: int) -> nn.Module:
    """For MNIST."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            output=nn.Linear(500, classes),
        )
    )


def vgg9(classes: int) -> nn.Module:
    """For CIFAR-10."""
    layers: list[nn.Module] = []
    channels = 3
    for number, out in enumerate((32, 64, 128, 128, 256, 256)):
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number % 2 else []
        channels = out
    layers += [nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, classes)]
    return nn.Sequential(*layers)


MODELS = {"lenet": lenet, "vgg9": vgg9, "char-lstm": CharLSTM}


@dataclass(frozen=True, eq=False)
class Task:
    """A work with its data: inputs and labels, the positions of each client's samples, and the initial weights."""

    work: Work
    train: Pair
    test: Pair
    parts: tuple[Tensor, ...]
    classes: int
    weights: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: str | Path) -> "Task":
        kept = torch.load(path, weights_only=True)
        return cls(**kept | {"work": Work(**kept["work"])})

    def write(self, path: Path) -> None:
        torch.save({**vars(self), "work": asdict(self.work)}, path)

    def model(self) -> nn.Module:
        """With the initial weights."""
        model = MODELS[self.work.model](self.classes)
        model.load_state_dict(self.weights)
        return model

    def client(self, number: int) -> Pair:
        """A client's own samples."""
        inputs, labels = self.train
        return inputs[self.parts[number]], labels[self.parts[number]]


class Clock:
    """Tells, in lines of JSON, when work begins, how long each round takes, and how good its model is."""

    def __init__(self, package: str) -> None:
        say(ready=True, torch=torch.__version__, package=package, version=version(package))
        self.before = time.perf_counter()

    def round(self, accuracy: float, samples: int) -> None:
        """A round is over, with its evaluation; so many samples were trained on."""
        now = time.perf_counter()
        say(seconds=now - self.before, accuracy=accuracy, samples=samples)
        self.before = time.perf_counter()

    @staticmethod
    def end(model: nn.Module, task: Task) -> None:
        """The same judge for all: accuracy and loss of the last round's model."""
        accuracy, loss = evaluate(model, task.test)
        say(final_accuracy=accuracy, final_loss=loss)


def say(**line: object) -> None:
    """One line, at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def loader(pair: Pair, *, batch: int, shuffle: bool) -> DataLoader:
    """As tutorials have it."""
    return DataLoader(TensorDataset(*pair), batch_size=batch, shuffle=shuffle)


def train(model: nn.Module, pair: Pair, work: Work) -> None:
    """One epoch, as tutorials have it; the model is trained in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=work.lr, momentum=work.momentum)
    model.train()
    for inputs, labels in loader(pair, batch=work.batch, shuffle=True):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


@torch.inference_mode()
def evaluate(model: nn.Module, test: Pair) -> tuple[float, float]:
    """Accuracy and mean loss, as tutorials have it."""
    model.eval()
    right, loss = 0, 0.0
    for inputs, labels in zip(*(part.split(EVALUATION_BATCH) for part in test), strict=True):
        outputs = model(inputs)
        right += int((outputs.argmax(1) == labels).sum())
        loss += float(cross_entropy(outputs, labels, reduction="sum"))
    return right / len(test[1]), loss / len(test[1])
