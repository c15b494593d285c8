"""Networks that read a sequence of tokens and classify it from the last step, such as by the next character."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Recurrent(nn.Module):
    """An embedding, one recurrent layer, and a linear layer on its last state: FedMA's character network.

    Source: FedMA, appendix (Shakespeare): 8 dimensions a character and 256 units of an LSTM.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        vocabulary: int,
        cell: type[nn.LSTM | nn.GRU] = nn.LSTM,
        hidden: int = 256,
        embedding: int = 8,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = cell(embedding, hidden, batch_first=True)
        self.output = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of each class (samples × classes) for tokens (samples × steps)."""
        states, _ = self.recurrent(self.embedding(tokens))
        scores: Tensor = self.output(states[:, -1])
        return scores


class Transformer(nn.Module):
    """Embeddings of tokens and positions, layers of attention and neurons, a linear layer on the last step.

    Every step sees every other, since the token to be predicted is not among them. Queries, keys and values have a
    matrix each, which makes unit groups easy to read; `nn.MultiheadAttention` works as well.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        vocabulary: int,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
    ) -> None:
        super().__init__()
        (length,) = input_shape
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of each class (samples × classes) for tokens (samples × steps)."""
        states: Tensor = self.layers(self.embedding(tokens) + self.positions)
        scores: Tensor = self.output(self.norm(states[:, -1]))
        return scores


class _Layer(nn.Module):
    """Attention, then a hidden layer four times as wide. Each is applied to normalised inputs and added to them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.norm2 = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, states: Tensor) -> Tensor:
        x = self.norm1(states)
        # samples × heads × steps × dimensions of a head
        parts = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        states = states + self.mix(scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return states + self.narrow(torch.relu(self.wide(self.norm2(states))))
