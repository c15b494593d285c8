"""Data sets by name: columns of choice, tables of numbers, configurations of the hub, damaged images."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fedma.data import load
from fedma.errors import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # the CSV reader of `datasets` leaves its files to the garbage collector


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def pictures(number: int) -> list[Image.Image]:
    return [Image.new("L", (3, 2), 9 * i) for i in range(number)]


def hub(monkeypatch: pytest.MonkeyPatch, **splits: datasets.Dataset) -> list[tuple[Any, ...]]:
    """A hub of one data set; what it is asked for."""
    asked: list[tuple[Any, ...]] = []

    def answer(*address: Any, **more: Any) -> dict[str, datasets.Dataset]:
        asked.append((*address, more))
        return splits

    monkeypatch.setattr(datasets, "load_dataset", answer)
    monkeypatch.setattr("fedma.data.source._offline_if_unreachable", lambda _: pytest.MonkeyPatch.context())
    return asked


@pytest.fixture
def cifar() -> datasets.Dataset:
    """Like CIFAR-100: pictures with a fine and a coarse class."""
    kinds = {"fine": datasets.ClassLabel(names=list("abcd")), "coarse": datasets.ClassLabel(names=["x", "y"])}
    rows = {"img": pictures(8), "fine": [0, 1, 2, 3] * 2, "coarse": [0, 0, 1, 1] * 2}
    made = datasets.Dataset.from_dict(rows)
    return made.cast(datasets.Features({**made.features, **kinds}))


def test_the_label_is_chosen_where_there_are_several(cifar: datasets.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, train=cifar, test=cifar)
    fine, coarse = load("owner/cifar:fine", label="fine"), load("owner/cifar", label="coarse", inputs="img")
    assert (fine.classes, fine.train.labels.tolist()) == (tuple("abcd"), [0, 1, 2, 3] * 2)
    assert (coarse.classes, coarse.test.labels.tolist()) == (("x", "y"), [0, 0, 1, 1] * 2)
    assert asked == [("owner/cifar", {"name": "fine"}), ("owner/cifar", {})]
    with pytest.raises(InputError, match=r"2 label columns \(its columns: img, fine, coarse\); name one as label"):
        load("owner/cifar")
    with pytest.raises(InputError, match=r"no column 'fnie' \(its columns: img, fine, coarse\)"):
        load("owner/cifar", label="fnie")


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("alone", [True, False])
def test_columns_of_numbers_are_features_of_mean_zero_and_unit_deviation(
    tmp_path: Path, kind: str, alone: bool
) -> None:
    age, height = np.arange(40), np.linspace(1.5, 1.9, 40)
    rows = {"age": age.tolist(), "height": height.tolist(), "name": ["n"] * 40, "ill": ["no", "yes"] * 20}
    table, folder = datasets.Dataset.from_dict(rows), tmp_path / "people"
    folder.mkdir()
    path = folder / f"train.{kind}"
    table.to_parquet(path) if kind == "parquet" else table.to_csv(path, sep="\t" if kind == "tsv" else ",")
    data = load(path if alone else folder, label="ill", test_fraction=0.25)
    assert (data.classes, data.input_shape, len(data.train), len(data.test)) == (("no", "yes"), (2,), 30, 10)
    torch.testing.assert_close(data.train.inputs.mean(0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(data.train.inputs.std(0, correction=0), torch.ones(2), rtol=0, atol=1e-5)
    both = torch.cat([data.train.inputs, data.test.inputs]) * torch.tensor(data.std) + torch.tensor(data.mean)
    torch.testing.assert_close(both[:, 0].sort().values, torch.arange(40.0), rtol=0, atol=1e-4)
    parity = (both[:, 0].round().long() % 2).tolist()
    assert parity == torch.cat([data.train.labels, data.test.labels]).tolist()
    assert load(path, label="ill", inputs="height").input_shape == (1,)


def table(folder: Path, **rows: Any) -> Path:
    folder.mkdir(exist_ok=True)
    datasets.Dataset.from_dict(rows).to_parquet(folder / "train.parquet")
    return folder


def test_numbers_to_predict_stay_as_they_are(tmp_path: Path) -> None:
    folder = table(tmp_path / "houses", rooms=[float(i) for i in range(20)], price=[100 * i for i in range(20)])
    data = load(folder, label="price", numbers=True)
    assert (data.classes, data.train.labels.dtype, len(data.test)) == ((), torch.float32, 4)
    rooms = data.train.inputs[:, 0] * data.std[0] + data.mean[0]
    torch.testing.assert_close(rooms * 100, data.train.labels, rtol=1e-4, atol=1e-2)


def test_lists_of_whole_numbers_are_tokens(tmp_path: Path) -> None:
    folder = table(tmp_path / "texts", ids=[[i, 5, 300] for i in range(10)], label=[0, 1] * 5)
    data = load(folder, inputs="ids")
    assert (data.vocabulary, data.input_shape) == (301, (3,))
    assert sorted(torch.cat([data.train.inputs, data.test.inputs])[:, 0].tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("rows", "wish", "message"),
    [
        ({"text": ["a"] * 4}, {"inputs": "text"}, "'text' holds words; .* take fedma.data.from_dataset"),
        ({"age": [1, None, 3, None]}, {}, r"'age' has 2 empty values \(first in row 1 of train of 'odd'\)"),
        ({"age": [1.0, 2.0, np.nan, 3.0]}, {}, r"'age' has 1 empty values \(first in row 2 of train of 'odd'\)"),
        ({"age": [1] * 4, "text": ["a"] * 4}, {"inputs": ("age", "text")}, "'text' holds words"),
        ({"age": [1] * 4}, {"natural": "who"}, "no column 'who'"),
        ({"im": [[-1, 2]] * 4}, {"inputs": "im"}, "tokens reach from -1 to 2"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, rows: dict, wish: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load(table(tmp_path / "odd", **rows, label=[0, 1] * 2), **wish)
    assert "\n" not in str(error.value)


def test_digits_have_no_columns_and_a_configuration_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="digits has no columns to choose from"):
        load("digits", label="digit")
    hub(monkeypatch)

    def missing(*_: Any, **__: Any) -> None:
        raise ValueError("Config name is missing.\nPlease pick one")

    monkeypatch.setattr(datasets, "load_dataset", missing)
    with pytest.raises(InputError, match=r"Config name is missing\.; name one as owner/name:config"):
        load("owner/many")


def animals(folder: Path) -> Path:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i, image in enumerate(pictures(6)):
                image.save(folder / split / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("limit", [None, 10])
def test_a_damaged_image_is_named_by_its_file(tmp_path: Path, limit: int | None) -> None:
    folder = animals(tmp_path / "animals")
    (folder / "train" / "dog" / "3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"image 9 of train of 'animals' \(.*/train/dog/3.png\) cannot be decoded"):
        load(folder, limit=limit and 12)
    whole = (folder / "train" / "dog" / "2.png").read_bytes()
    (folder / "train" / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"image 9 of train of 'animals' \(.*/train/dog/3.png\) cannot be decoded"):
        load(folder)


@pytest.mark.parametrize("limit", [None, 5])
def test_a_missing_image_is_named_by_its_split_and_row(tmp_path: Path, limit: int | None) -> None:
    folder = tmp_path / "holes"
    folder.mkdir()
    made = datasets.Dataset.from_dict({"image": [*pictures(5), None], "label": [0, 1] * 3})
    made = made.cast_column("image", datasets.Image())
    made.select(range(5)).to_parquet(folder / "train.parquet")
    made.to_parquet(folder / "test.parquet")
    with pytest.raises(InputError, match=r"image 5 of test of 'holes' is missing \(null\); remove the sample"):
        load(folder, limit=limit)


def test_a_class_without_images_is_told(tmp_path: Path) -> None:
    folder = animals(tmp_path / "animals")
    for file in (folder / "test" / "dog").iterdir():
        file.unlink()
    (folder / "test" / ".hidden").mkdir()
    with pytest.raises(InputError, match="folder 'test/dog' holds no images, though folders beside it do"):
        load(folder)
    (folder / "test" / "dog").rmdir()
    data = load(folder)
    assert (data.classes, len(data.test)) == (("cat", "dog"), 6)
