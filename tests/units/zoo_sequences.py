"""More of the zoo: sequences and attention."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from units.zoo import entry

WORDS = (11, (2, 5))


class CharLSTM(nn.Module):
    def __init__(self, kind=nn.LSTM, layers=1, width=6, given=None, **settings):
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.rnn = kind(4, width, layers, batch_first=True, **settings)
        self.fc = nn.Linear(given or width, 11)

    def forward(self, x):
        return self.fc(self.rnn(self.embed(x))[0][:, -1])


@entry(WORDS)
def char_lstm():
    return CharLSTM()


@entry(WORDS)
def lstm_bidirectional():
    return CharLSTM(layers=2, bidirectional=True, given=12)


@entry(WORDS)
def lstm_projected():
    return CharLSTM(layers=2, proj_size=3, given=3)


@entry(WORDS)
def rnn_tanh():
    return CharLSTM(nn.RNN, layers=2)


@entry(WORDS)
def gru_without_bias():
    return CharLSTM(nn.GRU, bias=False)


@entry(WORDS)
class GruLastState(nn.Module):
    """Reads the last state of the last layer instead of the outputs."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.fc = nn.Embedding(11, 4), nn.GRU(4, 6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.rnn(self.embed(x))[1][-1])


@entry((2, 4, 5))
class Cells(nn.Module):
    """Recurrent cells in a loop, with states of a size written down."""

    def __init__(self):
        super().__init__()
        self.lstm, self.gru, self.fc = nn.LSTMCell(5, 6), nn.GRUCell(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h, c, g = (x.new_zeros(len(x), 6) for _ in range(3))
        for step in range(x.shape[1]):
            h, c = self.lstm(x[:, step], (h, c))
            g = self.gru(h, g)
        return self.fc(g)


@entry(WORDS, (11, (2, 4)))
class SequenceToSequence(nn.Module):
    """The encoder's last state starts the decoder; its embedding is tied to the output layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.encoder, self.decoder = nn.LSTM(6, 6, batch_first=True), nn.LSTM(6, 6, batch_first=True)
        self.out = nn.Linear(6, 11)
        self.out.weight = self.embed.weight

    def forward(self, source, target):
        _, state = self.encoder(self.embed(source))
        return self.out(self.decoder(self.embed(target), state)[0])


def _encoder(**settings):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **settings)
    return nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3))


@entry((2, 4, 5))
def transformer_post_norm():
    return _encoder()


@entry((2, 4, 5))
def transformer_pre_norm():
    return _encoder(norm_first=True, activation="gelu")


@entry((2, 4, 5), (2, 3, 5))
class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Linear(5, 8), nn.Linear(8, 3)
        self.transformer = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=target.dtype)
        return self.fc(self.transformer(self.embed(source), self.embed(target), tgt_mask=mask))


@entry((2, 4, 5), (2, 3, 6))
class CrossAttention(nn.Module):
    """`nn.MultiheadAttention` with keys and values of other sizes."""

    def __init__(self):
        super().__init__()
        self.query, self.memory = nn.Linear(5, 8), nn.Linear(6, 7)
        self.attention, self.fc = nn.MultiheadAttention(8, 2, kdim=7, vdim=7, batch_first=True), nn.Linear(8, 3)

    def forward(self, x, memory):
        memory = F.relu(self.memory(memory))
        return self.fc(self.attention(self.query(x), memory, memory)[0])


def heads(x, count):
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


@entry((2, 4, 5))
class SdpaAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = (heads(project(x), 2) for project in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.fc(x + self.o(y.transpose(1, 2).flatten(2)))


@entry((2, 4, 5))
class ChunkedAttention(nn.Module):
    """Queries, keys and values from one matrix, split; attention written out with a softmax."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.o, self.fc = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = (heads(part, 2) for part in self.qkv(x).split(8, dim=-1))
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(4)
        scores = scores.masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), float("-inf"))
        return self.fc(x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(len(x), -1, 8)))


@entry((2, 4, 5))
class FusedAttention(nn.Module):
    """Queries, keys and values from one matrix, by a view with an axis of three."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.o, self.fc = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = self.qkv(x).reshape(2, 4, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return self.fc(x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 4, 8)))


@entry((2, 4, 5))
class EinsumAttention(nn.Module):
    """Bare parameters and einsum; a gated unit after it."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(6, 2, 4) / 2) for _ in range(3))
        self.o = nn.Parameter(torch.randn(2, 4, 6) / 2)
        self.embed, self.gated, self.down, self.fc = nn.Linear(5, 6), nn.Linear(6, 14), nn.Linear(7, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = (torch.einsum("btc,chd->bthd", x, p) for p in (self.q, self.k, self.v))
        attention = torch.einsum("bthd,bshd->bhts", q, k).softmax(-1)
        x = x + torch.einsum("bhts,bshd,hdc->btc", attention, v, self.o)
        return self.fc((x + self.down(F.glu(self.gated(x), -1))).amax(1))


def rotated(x, positions):
    """Rotary embedding: dimensions turn in pairs, half the width apart."""
    frequencies = 1.0 / 10 ** torch.linspace(0, 1, x.shape[-1] // 2, dtype=x.dtype)
    angles = positions[:, None] * frequencies
    angles = torch.cat([angles, angles], -1)
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


@entry(WORDS)
class MiniLlama(nn.Module):
    """Grouped-query attention with rotary embeddings, root-mean-square norm, gated hidden units, tied output."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Embedding(11, 8), nn.RMSNorm(8), nn.RMSNorm(8)
        self.q, self.k, self.v = (nn.Linear(8, n, bias=False) for n in (16, 8, 8))
        self.o = nn.Linear(16, 8, bias=False)
        self.gate, self.up, self.down = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, words):
        x = self.embed(words)
        y = self.norm1(x)
        q, k, v = heads(self.q(y), 4), heads(self.k(y), 2), heads(self.v(y), 2)
        positions = torch.arange(words.shape[1], dtype=x.dtype)
        q, k = rotated(q, positions), rotated(k, positions)
        k, v = (t.repeat_interleave(2, dim=1) for t in (k, v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return x @ self.embed.weight.T


@entry((2, 4, 5))
class GroupedQueries(nn.Module):
    """Grouped-query attention by the built-in option."""

    def __init__(self):
        super().__init__()
        self.embed, self.q, self.kv, self.o = nn.Linear(5, 8), nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x)
        k, v = (heads(part, 2) for part in self.kv(x).chunk(2, -1))
        y = F.scaled_dot_product_attention(heads(self.q(x), 4), k, v, enable_gqa=True)
        return self.o(y.transpose(1, 2).flatten(2))


@entry((2, 3, 4, 4))
class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.fc(self.norm(self.block(x))[:, 0])


@entry((2, 4, 4, 5))
class WindowAttention(nn.Module):
    """Shifted windows with a learnt bias looked up by relative position."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.o, self.fc = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)
        self.bias = nn.Parameter(torch.randn(9, 2))
        rows, columns = torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")
        rows, columns = rows.flatten(), columns.flatten()
        relative = (rows[:, None] - rows + 1) * 3 + columns[:, None] - columns + 1
        self.register_buffer("relative", relative)

    def forward(self, x):
        x = torch.roll(self.embed(x), (-1, -1), (1, 2))
        b, h, w, c = x.shape
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(x).reshape(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = self.bias[self.relative.flatten()].view(4, 4, 2).permute(2, 0, 1)
        attention = (q @ k.transpose(-1, -2) + bias).softmax(-1)
        y = self.o((attention @ v).transpose(1, 2).reshape(-1, 4, c))
        return self.fc(y.mean(1))


@entry((2, 4, 5))
class LearntQueries(nn.Module):
    """Queries that are parameters, with a sinusoidal table of positions kept as a buffer."""

    def __init__(self):
        super().__init__()
        self.embed, self.queries = nn.Linear(5, 8), nn.Parameter(torch.randn(3, 8))
        self.q, self.k, self.v, self.fc = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 7), nn.Linear(7, 3)
        self.register_buffer("table", torch.sin(torch.arange(4)[:, None] * torch.arange(8) / 3.0))

    def forward(self, x):
        x = self.embed(x) + self.table
        q = self.q(self.queries).expand(len(x), -1, -1)
        return self.fc(torch.bmm((q @ self.k(x).mT).softmax(-1), self.v(x)))
