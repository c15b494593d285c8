"""One round of FedMA by hand, for layers in a row: what the library does for any architecture, in plain PyTorch."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn

import fedma


def put(layer, weight, bias):
    """Let a layer hold these weights, whatever their shapes."""
    layer.weight, layer.bias = (nn.Parameter(new.to(layer.weight.dtype)) for new in (weight, bias))


def fedma_round(models, train, counts, match=fedma.match):
    """The global model of clients with these models, counts (clients × classes) and train(client, model, held)."""
    models = copy.deepcopy(models)
    layers = [number for number, layer in enumerate(models[0]) if hasattr(layer, "weight")]
    for k, number in enumerate(layers):
        for client, model in enumerate(models):
            train(client, model, held=layers[:k])
        rows = [torch.cat([m[number].weight.flatten(1), m[number].bias[:, None]], 1).detach() for m in models]
        if number == layers[-1]:  # outputs are in the same order in all clients: averaged by who has seen the class
            total = sum(own[:, None] * row.double() for own, row in zip(counts, rows, strict=True))
            mean = total / counts.sum(0)[:, None]
            put(models[0][number], mean[:, :-1], mean[:, -1])
            return models[0]
        units = match(rows).assignments
        every, slots = torch.cat(units), 1 + int(torch.cat(units).max())
        total = torch.zeros(slots, rows[0].shape[1], dtype=torch.float64).index_add(0, every, torch.cat(rows).double())
        mean = total / torch.bincount(every)[:, None]  # over the owners of each slot
        for model, own in zip(models, units, strict=True):
            put(model[number], mean[:, :-1].unflatten(1, model[number].weight.shape[1:]), mean[:, -1])
            after = model[layers[k + 1]]  # reads the slots now, with nothing from those that this client does not own
            old = after.weight.detach().unflatten(1, (len(own), -1))  # a channel's pixels stay together
            wide = old.new_zeros(len(old), slots, *old.shape[2:]).index_copy(1, own, old)
            put(after, wide.flatten(1, 2), after.bias.detach())


def train(client, model, held):
    """Some steps on a client's own digits, with some layers held."""
    free = [weight for name, weight in model.named_parameters() if int(name.split(".")[0]) not in held]
    optimizer = torch.optim.Adam(free, lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[client][0]), data[client][1]).backward()
        optimizer.step()


if __name__ == "__main__":
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float() / 16
    parts = [torch.isin(labels, torch.arange(first, first + 6) % 10) for first in (0, 3, 6)]  # six digits each
    data = [(images[part], labels[part]) for part in parts]
    models = [nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10)) for _ in data]
    fused = fedma_round(models, train, torch.stack([torch.bincount(own, minlength=10) for _, own in data]))
    print(f"accuracy {(fused(images).argmax(1) == labels).double().mean():.1%}, {len(fused[0].weight)} neurons")
