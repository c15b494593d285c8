"""What the units of a global model are: their owners as counted elsewhere, their samples as measured by hand."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import matplotlib.image
import pytest
import torch

from federation import split, texts
from fedma.cli import main
from fedma.data import from_arrays
from fedma.errors import CheckpointError, InputError
from fedma.experiments.assignments import assignments_path, load_assignments
from fedma.experiments.inspection import Inspection, inspect
from fedma.experiments.run import run
from fedma.experiments.run_folder import load_model
from fedma.experiments.settings import Settings

SETTINGS = Settings(
    model="cnn",
    method=("fedavg", "fedma", "pfnm"),
    clients=3,
    alpha=1.0,
    local_epochs=1,
    output_epochs=1,
    limit=200,
    test_limit=60,
    lr=0.05,
    workers=1,
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(SETTINGS, tmp_path_factory.mktemp("digits") / "run")


@pytest.fixture(scope="module")
def found(digits: Path) -> Inspection:
    return inspect(digits, samples=5)


def last(folder: Path, method: str) -> dict[str, dict[str, list[int]]]:
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return next(line for line in reversed(lines) if line["method"] == method)


@pytest.mark.parametrize("method", ["fedma", "pfnm"])
def test_slots_have_the_owners_that_the_report_counts(digits: Path, method: str) -> None:
    told, seen = last(digits, method), inspect(digits, method=method)
    assert list(seen.owners.items()) == list(told["owners"].items())
    for group, histogram in told["owners"].items():
        slots = seen.of(group)
        assert len(slots) == told["widths"][group][1]
        owned = Counter(len(slot.owners) for slot in slots)
        assert [owned[number] for number in (1, 2, 3)] == histogram
    maps = load_assignments(digits, method)
    assert all(client in seen.of("fc1")[slot].owners for client in maps for slot in maps[client]["fc1"].tolist())


@torch.no_grad()
def test_the_samples_of_a_slot_are_those_that_excite_it_most(digits: Path, found: Inspection) -> None:
    model, inputs = load_model(digits / "models" / "fedma.safetensors").eval(), found.data.test.inputs
    by_hand = {
        "conv1": model[:3](inputs).mean((2, 3)), "conv2": model[:6](inputs).mean((2, 3)), "fc1": model[:-1](inputs)
    }  # fmt: skip
    silent = 0
    for slot in found.slots:
        values = by_hand[slot.group][:, slot.place[0]]
        if values.min() == values.max():
            assert slot.samples == ()
            silent += 1
            continue
        most = values.sort(descending=True).values[:5]
        torch.testing.assert_close(torch.tensor(slot.excitations), most[most > values.min()])
        torch.testing.assert_close(values[list(slot.samples)], torch.tensor(slot.excitations))
    assert silent < len(found.slots) / 2


def test_pictures_are_the_images_as_they_came(found: Inspection) -> None:
    pictures = found.pictures(range(60))
    assert pictures.shape == (60, 8, 8, 1)
    torch.testing.assert_close((16 * pictures).round(), 16 * pictures, atol=1e-4, rtol=0)
    assert (pictures.min(), pictures.max()) == (0, 1)


def test_the_command_tells_and_draws(
    digits: Path, found: Inspection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "slots"
    main(["inspect", str(digits), "--slots", "3", "--images", "5", "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["group", "slots", "owned", "by", "1", "2", "3"]
    assert lines[1].split() == ["conv1", str(len(found.of("conv1"))), *map(str, found.owners["conv1"])]
    fc1 = [line.split(maxsplit=2) for line in lines[5:] if line.startswith("fc1")]
    assert [number for _, number, _ in fc1] == ["0", "1", "2"]
    for (_, number, rest), slot in zip(fc1, found.of("fc1"), strict=False):
        assert number == slot.name
        assert rest.startswith("all 3" if len(slot.owners) == 3 else " ".join(map(str, slot.owners)))
        assert ", ".join(f"{found.label(sample)} ({sample})" for sample in slot.samples) in rest
    assert sorted(path.name for path in out.iterdir()) == [
        "fedma-conv1.png", "fedma-conv2.png", "fedma-fc1.png", "fedma.csv",
    ]  # fmt: skip
    assert matplotlib.image.imread(out / "fedma-conv1.png").std() > 0.1
    with (out / "fedma.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(found.slots)
    assert table[0]["owners"] == ";".join(map(str, found.slots[0].owners))


def test_one_group_of_another_method(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(f"inspect {digits} --method pfnm --group conv2 --slots 1 --out {tmp_path}".split())
    said = capsys.readouterr().out
    assert "conv2  0 " in said
    assert "fc1" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"pfnm.csv", "pfnm-conv2.png"}


def test_text_shows_its_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "to be,\nor not to be: that is the question. " * 4
    table = {
        "character_id": [role for role in "ab" for _ in range(len(text) - 6)],
        "x": [text[start : start + 6] for _ in "ab" for start in range(len(text) - 6)],
        "y": [text[start + 6] for _ in "ab" for start in range(len(text) - 6)],
    }
    (tmp_path / "plays").mkdir()
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "plays" / "train.parquet")
    more = {"partition": "natural", "min_windows": 10, "limit": 40, "test_limit": 9, "method": ("fedma",)}
    settings = replace(SETTINGS, data=str(tmp_path / "plays"), model="char-lstm", clients=2, **more)
    folder = run(settings, tmp_path / "run")
    main(f"inspect {folder} --slots 1 --images 2".split())
    said = capsys.readouterr().out
    seen = inspect(folder, samples=2)
    assert [path.name for path in (folder / "slots").iterdir()] == ["fedma.csv"]
    assert seen.measured == {"recurrent"}
    assert "not measured" in said
    for sample in seen.of("recurrent")[0].samples:
        window = "".join(seen.data.classes[token] for token in seen.data.test.inputs[sample])
        assert window.replace("\n", "\\n") in said
    assert all(line.isprintable() for line in said.splitlines())


def test_data_that_were_given_are_asked_for(tmp_path: Path) -> None:
    train, test = texts(120), texts(30, seed=1)
    data = from_arrays((train.inputs, train.labels), (test.inputs, test.labels), vocabulary=12)
    settings = replace(SETTINGS, model="federation_models:Speaker", method=("fedma",), limit=None, test_limit=None)
    folder = run(settings, tmp_path / "run", dataset=data)
    with pytest.raises(InputError, match="give them again"):
        inspect(folder)
    found = inspect(folder, dataset=data)
    (slot, *_) = found.of("lstm")
    model = load_model(folder / "models" / "fedma.safetensors").eval()
    with torch.no_grad():
        states = model.lstm(model.embedding(test.inputs))[0][:, -1, 0]
    assert slot.samples[0] == int(states.argmax())
    assert found.shown(0) == f"{' '.join(map(str, test.inputs[0].tolist()))} → {int(test.labels[0])}"


@pytest.fixture
def copy(digits: Path, tmp_path: Path) -> Path:
    return shutil.copytree(digits, tmp_path / "copy")


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line that says what is the matter."""
    with pytest.raises(SystemExit) as end:
        main(["inspect", str(folder), *more])
    assert end.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert not (folder / "slots").exists()
    return line


def test_a_run_of_an_earlier_version_is_told_in_a_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assignments_path(copy, "fedma").unlink()
    assert "kept no assignments" in refused(copy, capsys)


@pytest.mark.parametrize("damage", ["cut", "garbled", "text", "other"])
def test_damaged_assignments_are_named(copy: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    path = assignments_path(copy, "fedma")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-8])
    elif damage == "garbled":
        path.write_bytes(content[:-8] + bytes(8 * [255]))
    elif damage == "text":
        path.write_text("no tensors")
    else:
        path.write_bytes((copy / "models" / "fedma.safetensors").read_bytes())
    said = refused(copy, capsys)
    assert "fedma.assignments.safetensors" in said
    assert "repeat the run" in said
    with pytest.raises(CheckpointError):
        load_assignments(copy, "fedma")


def test_assignments_of_another_model_are_noticed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(copy / "models" / "fedavg.safetensors", copy / "models" / "fedma.safetensors")
    assert "do not fit the model" in refused(copy, capsys)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--method fedavg", "fedavg in {folder} matched no units"),
        ("--method fedprox", "has no method 'fedprox'; it has fedavg, fedma, pfnm"),
        ("--group conv9", "groups are conv1, conv2, fc1"),
        ("--slots 0", "--slots must be from 1"),
        ("--images 1000", "--images must be from 1 to 40"),
        ("--out {folder}/run.json/x", "run.json is no folder; name another with --out"),
    ],
)
def test_mistakes_are_told_in_a_line(digits: Path, capsys: pytest.CaptureFixture[str], flags: str, words: str) -> None:
    said = refused(digits, capsys, *flags.format(folder=digits).split())
    assert words.format(folder=digits) in said


def test_other_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run folder" in refused(tmp_path, capsys)


def test_a_model_without_hidden_units_has_nothing_to_show(tmp_path: Path) -> None:
    train, test = split(90), split(30, seed=1)
    data = from_arrays((train.inputs, train.labels), (test.inputs, test.labels))
    settings = replace(SETTINGS, model="networks:Linear", method=("fedma",), alpha=100.0, limit=None, test_limit=None)
    folder = run(settings, tmp_path / "run", dataset=data)
    with pytest.raises(InputError, match="no hidden units"):
        inspect(folder, dataset=data)


def test_pictures_that_were_given_are_scaled_to_what_there_is() -> None:
    inputs = torch.linspace(-3, 5, 2 * 3 * 4 * 6).view(2, 3, 4, 6)
    data = from_arrays((inputs, torch.arange(2)), (inputs, torch.arange(2)))
    found = Inspection("fedma", 1, data, {}, (), frozenset())
    assert found.kind == "images"
    torch.testing.assert_close(found.pictures([1, 0]), ((inputs[[1, 0]] + 3) / 8).movedim(1, -1))
    assert found.pictures([]).shape == (0, 4, 6, 3)
