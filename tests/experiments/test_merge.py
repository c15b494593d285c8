"""Merging checkpoints: what is read, what is refused, and that aligned models compute what they did."""

import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import fedma
from fedma.cli import main
from fedma.data import load
from fedma.errors import InputError
from fedma.experiments.merge import Architecture, barrier, describe, read_models
from fedma.experiments.run_folder import load_model
from fedma.models import build

DIGITS = Architecture("mlp-12-8", (1, 8, 8), 10)


@pytest.fixture
def files(tmp_path):
    """Three checkpoints, the last of a wider model."""
    names = ("mlp-12-8", "mlp-12-8", "mlp-15-9")
    paths = [tmp_path / f"{j}.safetensors" for j in range(len(names))]
    for j, (name, path) in enumerate(zip(names, paths, strict=True)):
        save_file(build(name, (1, 8, 8), 10, seed=j).state_dict(), path)
    return paths


@pytest.mark.parametrize("name", ["cnn", "vgg9-bn", "resnet20", "transformer", "char-lstm"])
@pytest.mark.parametrize("grow", [True, False])
def test_aligned_models_compute_what_they_did(name, grow):
    tokens = name in ("transformer", "char-lstm")
    shape, vocabulary = ((12,), 9) if tokens else ((3, 16, 16), None)
    models = [build(name, shape, 5, seed=j, vocabulary=vocabulary).eval() for j in range(2)]
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randint(9, (3, *shape), generator=draw) if tokens else torch.rand(3, *shape, generator=draw)
    fusion = fedma.fuse(models, inputs, grow=grow, fitted=False, max_growth=1.2)
    for model, moved in zip(models, fedma.aligned(models, fusion), strict=True):
        torch.testing.assert_close(moved.eval()(inputs), model(inputs), rtol=1e-3, atol=1e-4)
        assert fusion.graph.widths_in(dict(moved.state_dict())) == fusion.widths


def test_optimal_transport_aligns_nothing():
    pytest.importorskip("ot")
    models = [build("mlp", (1, 8, 8), 10, seed=j) for j in range(2)]
    with pytest.raises(InputError, match="unit by unit"):
        fedma.aligned(models, fedma.fuse(models, torch.rand(2, 1, 8, 8), matcher="ot"))


def test_what_was_matched_adds_up(files):
    models = read_models(files, DIGITS)
    for _, widths, fused, owned in describe(fedma.fuse(models, DIGITS.example())):
        assert sum(owned) == fused
        assert sum((owners + 1) * count for owners, count in enumerate(owned)) == sum(widths)


def test_the_line_between_a_model_and_its_permutation_is_flat_after_matching(files):
    (model,) = read_models(files[:1], DIGITS)
    graph = fedma.units(model, DIGITS.example())
    moved = graph.permute(model, graph.random_orders(torch.Generator().manual_seed(1)))
    points = barrier([model, moved], load("digits", limit=100), matcher="bbp", points=5)
    after = [point["loss_after"] for point in points]
    assert after == pytest.approx([after[0]] * 5, rel=1e-4)
    assert points[2]["loss_before"] != pytest.approx(after[0], rel=1e-3)
    assert points[0]["loss_before"] == pytest.approx(points[-1]["loss_before"], rel=1e-4)


def test_a_line_needs_two_models_of_equal_widths(files):
    data = load("digits", limit=100)
    with pytest.raises(InputError, match="two ends"):
        barrier(read_models(files, DIGITS), data, matcher="bbp")
    with pytest.raises(InputError, match="equal widths"):
        barrier(read_models(files[1:], DIGITS), data, matcher="bbp")


def test_from_files_to_a_file_that_can_be_merged_again(files, tmp_path, capsys):
    out, again = tmp_path / "out" / "fused.safetensors", tmp_path / "again.safetensors"
    main(["fuse", *map(str, files), "--model", "mlp-12-8", "--data", "digits", "--test-limit", "50", "--out", str(out)])
    said = capsys.readouterr().out
    assert all(word in said for word in ("fc1", "12 12 15", "owned by 3", "ensemble", "fused"))
    assert load_model(out)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    main(["fuse", str(out), str(out), "--out", str(again)])
    inputs = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(load_model(again)(inputs), load_model(out)(inputs), rtol=1e-4, atol=1e-5)


def test_the_line_is_drawn(files, tmp_path):
    picture = tmp_path / "line.svg"
    flags = ["--model", "mlp-12-8", "--data", "digits", "--test-limit", "50", "--interpolate", str(picture)]
    main(["fuse", *map(str, files[:2]), *flags, "--out", str(tmp_path / "f.safetensors")])
    assert "<svg" in picture.read_text()
    assert len(picture.with_suffix(".csv").read_text().splitlines()) == 12


def broken(path, kind):
    """A file with something the matter."""
    good = build("mlp-12-8", (1, 8, 8), 10, seed=0).state_dict()
    if kind == "text":
        path.write_text("no tensors")
    elif kind == "name":
        save_file({**good, "extra": torch.zeros(1)}, path)
    elif kind == "missing":
        save_file({name: tensor for name, tensor in good.items() if name != "fc1.bias"}, path)
    elif kind == "rank":
        save_file({**good, "fc1.weight": good["fc1.weight"][None]}, path)
    elif kind == "fit":
        save_file({**good, "fc2.weight": torch.zeros(8, 13)}, path)
    elif kind == "wrapped":
        save_file({f"module.{name}": tensor for name, tensor in good.items()}, path)
    elif kind == "nan":
        save_file({**good, "fc2.bias": torch.full((8,), torch.nan)}, path)
    elif kind == "classes":
        save_file(build("mlp-12-8", (1, 8, 8), 7, seed=0).state_dict(), path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("absent", "not there"),
        ("text", "no safetensors file"),
        ("name", "holds 'extra'"),
        ("missing", "lacks 'fc1.bias'"),
        ("rank", "only widths may differ"),
        ("fit", "does not take inputs"),
        ("nan", "'fc2.bias' has values that are not finite"),
        ("classes", "7 outputs, not 10"),
        ("wrapped", "save model.module.state_dict()"),
    ],
)
def test_files_that_cannot_be_merged_are_named(files, tmp_path, capsys, kind, says):
    path = tmp_path / "bad.safetensors"
    broken(path, kind)
    flags = ["--model", "mlp-12-8", "--input-shape", "1", "8", "8", "--out", str(tmp_path / "f.safetensors")]
    with pytest.raises(SystemExit, match="2"):
        main(["fuse", str(files[0]), str(path), *flags])
    said = capsys.readouterr().err
    assert "bad.safetensors" in said
    assert says in said
    assert not (tmp_path / "f.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--model"),
        (["--model", "mlp"], "--input-shape"),
        (["--model", "mlp", "--interpolate", "x.png"], "need --data"),
        (["--model", "mlp", "--data", "digits", "--interpolate", "x.txt"], ".png"),
        (["--model", "mlp", "--weights", "1"], "1 numbers for 2 files"),
    ],
)
def test_commands_that_cannot_be_done_say_what_is_missing(files, tmp_path, capsys, flags, says):
    with pytest.raises(SystemExit, match="2"):
        main(["fuse", *map(str, files[:2]), *flags, "--out", str(tmp_path / "f.safetensors")])
    assert says in capsys.readouterr().err


def test_a_file_that_is_there_is_not_touched(files, capsys):
    before = files[0].read_bytes()
    with pytest.raises(SystemExit, match="2"):
        main(["fuse", *map(str, files), "--model", "mlp-12-8", "--input-shape", "1", "8", "8", "--out", str(files[0])])
    assert "exists already" in capsys.readouterr().err
    assert files[0].read_bytes() == before


def test_a_module_of_ones_own_merges(tmp_path, monkeypatch, capsys):
    source = (
        "from torch import nn\n\ndef net(n=6):\n    return nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 3))\n"
    )
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    paths = [tmp_path / f"{j}.safetensors" for j in range(2)]
    for path in paths:
        save_file(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).state_dict(), path)
    flags = ["--model", "mine:net", "--input-shape", "4", "--classes", "3", "--out", str(tmp_path / "f.safetensors")]
    main(["fuse", *map(str, paths), *flags])
    assert "owned by 2" in capsys.readouterr().out


SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.fc, self.out, self.pair = nn.Linear(4, 6), nn.Linear(6, 3), pair
        self.register_buffer("mask", torch.ones(4), persistent=False)

    def forward(self, x):
        y = self.out(torch.relu(self.fc(x * self.mask)))
        return (y, y) if self.pair else y

def net():
    return Net(False)

def tied():
    model = Net(False)
    model.out = nn.Linear(4, 6)
    model.out.weight = model.fc.weight
    return model

def pair():
    return Net(True)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Two checkpoints of a model with a buffer that its state dict leaves out, and flags."""
    (tmp_path / "masked.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "masked", raising=False)
    paths = [str(tmp_path / f"{j}.safetensors") for j in range(2)]
    for j, path in enumerate(paths):
        save_file(build("masked:net", (4,), 3, seed=j).state_dict(), path)
    return paths, ["--input-shape", "4", "--classes", "3", "--out", str(tmp_path / "f.safetensors")]


def test_buffers_that_are_not_saved_are_the_models_own(own, tmp_path, capsys):
    paths, flags = own
    main(["fuse", *paths, "--model", "masked:net", *flags])
    again = [*flags[:-1], str(tmp_path / "again.safetensors")]
    main(["fuse", str(tmp_path / "f.safetensors"), paths[0], "--model", "masked:net", *again])
    assert "owned by 2" in capsys.readouterr().out


def test_a_model_of_several_outputs_is_refused(own, capsys):
    paths, flags = own
    with pytest.raises(SystemExit, match="2"):
        main(["fuse", *paths, "--model", "masked:pair", *flags])
    assert "gives a tuple" in capsys.readouterr().err


def test_where_no_line_can_be_drawn_nothing_is_written(files, tmp_path, capsys):
    flags = ["--model", "mlp-12-8", "--data", "digits", "--test-limit", "50", "--interpolate", str(tmp_path / "l.png")]
    with pytest.raises(SystemExit, match="2"):
        main(["fuse", *map(str, files), *flags, "--out", str(tmp_path / "f.safetensors")])
    assert "two models" in capsys.readouterr().err
    assert not (tmp_path / "f.safetensors").exists()


def test_layers_that_are_tied_in_the_model_and_not_in_the_file_are_refused(own, tmp_path, capsys):
    paths, flags = own
    tensors = {name: tensor.clone() for name, tensor in build("masked:tied", (4,), 6, seed=0).state_dict().items()}
    save_file(tensors | {"out.weight": tensors["out.weight"] + 1}, tmp_path / "loose.safetensors")
    with pytest.raises(SystemExit, match="2"):
        main(["fuse", str(tmp_path / "loose.safetensors"), paths[0], "--model", "masked:tied", *flags])
    assert "'fc.weight' and 'out.weight' are one tensor of the model" in capsys.readouterr().err
