"""One round of FedMA by hand, for a character LSTM, whose states are both rows and columns of a matrix."""

import argparse
import copy
import inspect
import tarfile
import zipfile

import torch
from torch import nn

import fedma
from fedma.models.sequences import Recurrent


def owners_mean(rows, units):
    """What each slot is: the mean of the units that are matched to it."""
    every, joined = torch.cat(units), torch.cat(rows).double()
    total = joined.new_zeros(1 + int(every.max()), joined.shape[1]).index_add(0, every, joined)
    return (total / torch.bincount(every)[:, None]).float()


def lstm(*values):
    """A layer of these weights and biases."""
    layer = nn.LSTM(values[0].shape[1], values[1].shape[1], batch_first=True)
    layer.load_state_dict(dict(zip(layer.state_dict(), values, strict=True)))
    return layer


def reads(weight, own, slots):
    """Columns for every slot, with nothing from those that this client does not own."""
    return weight.new_zeros(len(weight), slots).index_copy(1, own, weight).detach()


def fedma_round(models, train, counts, match=fedma.match):
    """The global model of clients with these models, counts (clients × classes) and train(client, model, held)."""
    models = copy.deepcopy(models)
    for client, model in enumerate(models):
        train(client, model, held=())
    tables = [model.embedding.weight.detach().T for model in models]  # a unit is a dimension of the embedding
    units = match(tables).assignments
    table = owners_mean(tables, units).T
    for client, (model, own) in enumerate(zip(models, units, strict=True)):
        model.embedding.weight = nn.Parameter(table.clone())
        inputs, *rest = model.recurrent.state_dict().values()
        model.recurrent = lstm(reads(inputs, own, table.shape[1]), *rest)
        train(client, model, held=("embedding",))
    gates = [[own.unflatten(0, (4, -1)) for own in model.recurrent.state_dict().values()] for model in models]
    states = [torch.cat([i, b[..., None], c[..., None]], 2).transpose(0, 1).flatten(1) for i, _, b, c in gates]
    units = match(states).assignments  # a unit is a state, by what it reads of the embedding at its four gates
    inputs = owners_mean(states, units).unflatten(1, (4, -1)).transpose(0, 1)
    slots = inputs.shape[1]
    total, pairs = torch.zeros(4, slots, slots), torch.zeros(slots, slots)
    for (_, among, *_), own in zip(gates, units, strict=True):
        total[:, own[:, None], own] += among
        pairs[own[:, None], own] += 1  # from the clients that own both states
    among = (total / pairs.clamp(min=1)).flatten(0, 1)
    inputs = inputs.flatten(0, 1)
    for client, (model, own) in enumerate(zip(models, units, strict=True)):
        model.recurrent = lstm(inputs[:, :-2], among, inputs[:, -2], inputs[:, -1])
        model.output.weight = nn.Parameter(reads(model.output.weight, own, slots))
        train(client, model, held=("embedding", "recurrent"))
    shares = (counts / counts.sum(0))[:, :, None]  # outputs: averaged by who has seen the class
    weight = (shares * torch.stack([model.output.weight.detach() for model in models])).sum(0)
    bias = (shares[:, :, 0] * torch.stack([model.output.bias.detach() for model in models])).sum(0)
    models[0].output.weight, models[0].output.bias = nn.Parameter(weight), nn.Parameter(bias)
    return models[0]


def train(client, model, held):
    """Some steps on a client's own text, with some layers held."""
    free = [weight for name, weight in model.named_parameters() if name.split(".")[0] not in held]
    optimizer = torch.optim.Adam(free, lr=0.02)
    for start in range(60):
        batch = data[client][start::60]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[:, :-1]), batch[:, -1]).backward()
        optimizer.step()


if __name__ == "__main__":
    texts = [inspect.getsource(module)[:9010] for module in (argparse, tarfile, zipfile)]  # a client each
    characters = sorted(set("".join(texts)))
    windows = [torch.tensor([characters.index(c) for c in text]).unfold(0, 11, 1) for text in texts]
    data, test = [own[:6000] for own in windows], torch.cat([own[6000:] for own in windows])
    counts = torch.stack([torch.bincount(own[:, -1], minlength=len(characters)) for own in data])
    models = [Recurrent((10,), len(characters), vocabulary=len(characters), hidden=32) for _ in data]
    fused = fedma_round(models, train, counts.clamp(min=1))  # some characters none has seen
    accuracy = (fused(test[:, :-1]).argmax(1) == test[:, -1]).double().mean()
    print(f"accuracy {accuracy:.1%} of the next characters, {fused.recurrent.hidden_size} states")
