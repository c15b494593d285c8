"""A split whose batches are mappings, and models for every task, small."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedma.seeds import generator, global_generator, number


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of tensors; a batch is a mapping."""

    columns: Mapping[str, Tensor]
    labels: Tensor | None = None
    owners: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def inputs(self) -> Tensor:
        return next(iter(self.columns.values()))

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: column[rows] for name, column in self.columns.items()}

    def batches(self, parts: Iterable[Tensor], *, seed: int = 0) -> Iterator[dict[str, Tensor]]:
        return map(self.batch, parts)

    def example(self) -> dict[str, Tensor]:
        return self.batch(torch.arange(2))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[1:])

    def contents(self) -> Iterator[Any]:
        for column in self.columns.values():
            yield column.contiguous().numpy().data

    def select(self, rows: Any) -> "Columns":
        rows = torch.as_tensor(rows, dtype=torch.int64)
        labels = None if self.labels is None else self.labels[rows]
        return Columns(self.batch(rows), labels)


class Pixels(nn.Module):
    """Scores for each pixel."""

    def __init__(self, classes: int = 3, wide: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, wide, 3, padding=1)
        self.second = nn.Conv2d(wide, wide, 3, padding=1)
        self.output = nn.Conv2d(wide, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(torch.relu(self.second(torch.relu(self.first(images)))))


class Speaker(nn.Module):
    """Scores of the next token at every position."""

    def __init__(self, tokens: int = 11, hidden: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, 6)
        self.recurrent = nn.LSTM(6, hidden, batch_first=True)
        self.output = nn.Linear(hidden, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(self.recurrent(self.embedding(tokens))[0])


class OwnLoss(nn.Module):
    """Answers with its own loss, as Hugging Face's models do."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(5, 8), nn.Linear(8, 1)

    def forward(self, values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        found = self.output(torch.relu(self.hidden(values)))[:, 0]
        return {"logits": found} if labels is None else {"loss": (found - labels).abs().mean(), "logits": found}


def mlp(outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, outputs))


def built(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with global_generator(number(seed, "model")):
        return make()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "normal"))


def whole(most: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(most, shape, generator=generator(seed, "whole"))
