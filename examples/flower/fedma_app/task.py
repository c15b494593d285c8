"""The model and the data: put your own here."""

from pathlib import Path

from flwr.app import Context, UserConfig
from safetensors.torch import load_file
from torch import nn

from fedma.data import Split
from fedma.models import build


def make_model(config: UserConfig, client: int | None = None) -> nn.Module:
    """The network, with the initial weights of a client."""
    shape = tuple(int(size) for size in str(config["input-shape"]).split())
    return build(str(config["model"]), shape, int(config["classes"]), seed=int(config["seed"]), client=client)


def client_model(context: Context) -> nn.Module:
    """The network as this client begins with it."""
    return make_model(context.run_config, int(context.node_config["partition-id"]))


def client_data(context: Context) -> Split:
    """This client's training samples: of the file that its node is given, or else its part of the digits."""
    if path := context.node_config.get("data"):
        return from_file(Path(str(path)))
    from fedma.data import load, partition

    number, seed = int(context.node_config["partition-id"]), int(context.run_config["seed"])
    digits = load("digits").train
    parts = partition(digits, int(context.run_config["clients"]), alpha=0.5, seed=seed)
    return digits.select(parts[number])


def test_data(config: UserConfig) -> Split:
    """What the server judges the global model by."""
    if path := str(config["test"]):
        return from_file(Path(path))
    from fedma.data import load

    return load("digits").test


def from_file(path: Path) -> Split:
    """Samples from a safetensors file: inputs, float32, samples first; labels, int64."""
    tensors = load_file(path)
    return Split(tensors["inputs"], tensors["labels"])
