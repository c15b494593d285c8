"""Reading data: the digits, local folders of parquet or images, the hub when it cannot be reached, bad input."""

import io
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from fedma.data import Dataset, Split, load, partition, source
from fedma.data.images import decode
from fedma.data.source import digits
from fedma.errors import InputError, MissingExtra

SHARED = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def picture(value: int, size: tuple[int, int] = (3, 2), mode: str = "L") -> Image.Image:
    """One colour all over; size is width × height."""
    return Image.new(mode, size, value if mode in "LP" else (value, value // 2, 0, 255)[: len(mode)])


def encoded(image: Image.Image) -> dict[str, object]:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def parquet(folder: Path, split: str, **columns: object) -> Path:
    """A split of a folder in the form of the hub's parquet folders; a column of pictures is named `image...`."""
    folder.mkdir(exist_ok=True)
    kinds = {name: datasets.Image() for name in columns if name.startswith("im")}
    table = datasets.Dataset.from_dict(columns)
    for name, kind in kinds.items():
        table = table.cast_column(name, kind)
    table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve training and three test pictures of classes 5, 7 and 9 by turns, of one grey each."""
    train, test = range(12), (255, 0, 51)
    folder = tmp_path / "pictures"
    parquet(folder, "train", image=[picture(20 * i) for i in train], label=[(5, 7, 9)[i % 3] for i in train])
    return parquet(folder, "test", image=[picture(v) for v in test], label=[9, 5, 7])


def restored(dataset: Dataset, split: Split) -> torch.Tensor:
    """Pixels of 0 to 1 again."""
    return split.inputs * torch.tensor(dataset.std)[:, None, None] + torch.tensor(dataset.mean)[:, None, None]


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_digits_need_no_download_and_are_divided_evenly() -> None:
    data = load("digits")
    assert (data.name, data.input_shape, data.classes) == ("digits", (1, 8, 8), tuple("0123456789"))
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert (data.train.inputs.dtype, data.train.labels.dtype) == (torch.float32, torch.int64)
    share = data.test.labels.bincount() / (data.test.labels.bincount() + data.train.labels.bincount())
    torch.testing.assert_close(share, torch.full((10,), 0.2), rtol=0, atol=0.5 / 170)
    pixels = restored(data, data.train)
    assert (pixels.min() > -1e-6) & (pixels.max() < 1 + 1e-6)
    sixteenths = pixels * 16
    torch.testing.assert_close(sixteenths, sixteenths.round(), rtol=0, atol=1e-4)
    theirs = load_digits()
    every = digits().train
    assert every.labels.tolist() == theirs.target.tolist()
    np.testing.assert_array_equal(every.decoded().squeeze(1), theirs.images)


def test_training_images_have_mean_zero_and_unit_deviation_and_the_test_images_the_same_scale() -> None:
    data = load("digits")
    torch.testing.assert_close(data.train.inputs.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(data.train.inputs.std(correction=0), torch.tensor(1.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(restored(data, data.test).max(), torch.tensor(1.0))
    torch.testing.assert_close(restored(data, data.test).min(), torch.tensor(0.0), rtol=0, atol=1e-6)


@given(fraction=st.floats(0.05, 0.6), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=8, derandomize=True)
def test_the_seed_decides_which_digits_are_set_aside(fraction: float, seed: int) -> None:
    first, again = (load("digits", test_fraction=fraction, seed=seed) for _ in range(2))
    torch.testing.assert_close(first.test.inputs, again.test.inputs, rtol=0, atol=0)
    torch.testing.assert_close(first.train.labels, again.train.labels, rtol=0, atol=0)
    assert len(first.train) + len(first.test) == 1797
    assert abs(len(first.test) - 1797 * fraction) <= 5
    other = load("digits", test_fraction=fraction, seed=seed + 1)
    assert first.test.labels.tolist() != other.test.labels.tolist()


def test_limit_keeps_a_seeded_sample_of_the_training_split_and_the_whole_test_split() -> None:
    data = load("digits", limit=200)
    assert (len(data.train), len(data.test)) == (200, 359)
    assert len(data.train.labels.unique()) == 10
    assert data.train.labels.tolist() == load("digits", limit=200).train.labels.tolist()
    assert data.train.labels.tolist() != load("digits", limit=200, seed=1).train.labels.tolist()
    assert len(load("digits", limit=10**6).train) == 1438
    assert (len(load("digits", test_limit=50).train), len(load("digits", test_limit=50).test)) == (1438, 50)


def test_a_readme_in_the_folder_is_passed_over_in_silence(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    (labelled / "README.md").write_text("# Pictures\n")
    assert len(load(labelled).train) == 12
    assert capsys.readouterr() == ("", "")


def test_a_parquet_folder_is_read_scaled_and_left_as_it_was(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    before = files(labelled)
    data = load(labelled)
    assert (data.name, data.input_shape, data.classes) == ("pictures", (1, 2, 3), ("5", "7", "9"))
    assert data.train.labels.tolist() == [0, 1, 2] * 4
    assert data.test.labels.tolist() == [2, 0, 1]
    expected = torch.tensor([255, 0, 51]) / 255
    torch.testing.assert_close(restored(data, data.test)[:, 0, 0, 0], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(restored(data, data.train)[:, 0, 1, 2], torch.arange(12) * 20 / 255, rtol=0, atol=1e-6)
    assert files(labelled) == before
    assert capsys.readouterr() == ("", "")


def test_images_are_decoded_once_for_every_version_of_a_folder(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(labelled)
    with monkeypatch.context() as changed:
        changed.setattr(source, "decode", lambda images: pytest.fail("decoded again"))
        again = load(labelled)
        assert load(labelled, limit=5).train.inputs.shape == (5, 1, 2, 3)
    torch.testing.assert_close(again.train.inputs, first.train.inputs, rtol=0, atol=0)
    torch.testing.assert_close(again.test.inputs, first.test.inputs, rtol=0, atol=0)

    (kept,) = (tmp_path / "cache").rglob("*train*.npy")
    for damaged in (kept.read_bytes()[:-1], b"", b"no array"):
        kept.write_bytes(damaged)
        torch.testing.assert_close(load(labelled).train.inputs, first.train.inputs, rtol=0, atol=0)
    assert not list((tmp_path / "cache").rglob("*.partial"))

    parquet(labelled, "test", image=[picture(7)] * 3, label=[5, 7, 9])
    other = load(labelled)
    assert (restored(other, other.test) * 255).round().unique().tolist() == [7]


def test_a_few_images_of_many_are_decoded_alone(labelled: Path, tmp_path: Path) -> None:
    load(labelled, limit=3)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_grey_and_coloured_splits_become_coloured_and_are_of_one_size(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "both", "train", image=[picture(5 * i) for i in range(8)], label=[0, 1] * 4)
    parquet(folder, "test", image=[picture(100, mode="RGB")] * 2, label=[0, 1])
    data = load(folder)
    assert data.input_shape == (3, 2, 3)
    grey = (restored(data, data.train)[:, :, 0, 0] * 255).round()
    assert grey.tolist() == [[5 * i] * 3 for i in range(8)]
    parquet(folder, "test", image=[picture(0, (5, 4))] * 2, label=[0, 1])
    with pytest.raises(InputError, match=r"training images are 3×2, test images 5×4 \(width × height\)"):
        load(folder)


def test_progress_bars_are_left_as_the_user_had_them(labelled: Path) -> None:
    load(labelled)
    assert not datasets.are_progress_bars_disabled()


def test_a_folder_of_images_takes_its_classes_from_the_folders(tmp_path: Path) -> None:
    for split, shift in (("train", 0), ("test", 100)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "animals" / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                picture(shift + 10 * label + i, mode="RGB").save(folder / f"{i}.png")
    data = load(str(tmp_path / "animals"))
    assert (data.classes, data.input_shape) == (("cat", "dog"), (3, 2, 3))
    assert sorted(data.train.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    red = (restored(data, data.test)[:, 0, 0, 0] * 255).round().sort().values
    assert red.tolist() == [100, 101, 102, 110, 111, 112]


def test_one_split_alone_is_divided(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "alone", "train", im=[picture(i) for i in range(20)], label=["a", "b"] * 10)
    data = load(folder, test_fraction=0.3)
    assert (len(data.train), len(data.test), data.classes) == (14, 6, ("a", "b"))
    assert data.test.labels.bincount().tolist() == [3, 3]
    every = torch.cat([restored(data, split)[:, 0, 0, 0] for split in (data.train, data.test)])
    assert sorted((every * 255).round().tolist()) == list(range(20))


def test_natural_owners_travel_with_their_samples(tmp_path: Path) -> None:
    writers = [f"w{i % 4}" for i in range(20)]
    images = [picture(10 * (i % 4)) for i in range(20)]
    folder = parquet(tmp_path / "written", "train", image=images, label=[0, 1] * 10, writer=writers)
    data = load(folder, natural="writer", limit=3)
    assert sorted((data.train.owners or ()).count(writer) for writer in ("w0", "w1", "w2", "w3")) == [3] * 4
    greys = (restored(data, data.train)[:, 0, 0, 0] * 255).round().tolist()
    assert data.train.owners == tuple(f"w{int(grey) // 10}" for grey in greys)
    picked = data.train.select([3, 0])
    assert picked.owners == (data.train.owners[3], data.train.owners[0])
    assert picked.labels.tolist() == data.train.labels[[3, 0]].tolist()
    assert all(len(part) >= 1 for part in partition(data.train, 2, scheme="natural", min_samples=1))
    with pytest.raises(InputError, match=r"no column 'author' \(its columns: image, label, writer\)"):
        load(folder, natural="author")


def test_grey_and_coloured_images_together_become_coloured() -> None:
    kinds = ("L", "RGB", "RGBA")
    pixels = decode([encoded(picture(100, mode=mode)) for mode in kinds])
    assert pixels.shape == (3, 3, 2, 3)
    assert pixels[:, :, 0, 0].tolist() == [[100, 100, 100], [100, 50, 0], [100, 50, 0]]


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([(), (3,)]), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_decoding_undoes_encoding(height: int, width: int, channels: tuple[int, ...], random: object) -> None:
    seed = random.getrandbits(32)  # type: ignore[attr-defined]
    pixels = np.random.default_rng(seed).integers(0, 256, (4, height, width, *channels), dtype=np.uint8)
    decoded = decode([encoded(Image.fromarray(image)) for image in pixels])
    expected = pixels[:, None] if not channels else pixels.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(decoded, expected)


def test_unusable_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image 0 is 3×2, image 2 is 4×2"):
        decode([encoded(picture(0)), encoded(picture(0)), encoded(picture(0, (4, 2))), encoded(picture(0, (9, 9)))])
    with pytest.raises(InputError, match="image 1 cannot be decoded"):
        decode([encoded(picture(0)), {"bytes": b"no picture", "path": None}])
    with pytest.raises(InputError, match="image 0 cannot be decoded"):
        decode([{"bytes": None, "path": str(tmp_path / "gone.png")}])
    with pytest.raises(InputError, match=r"image 0 has pixels of kind 'I;16'; convert it to 8 bits"):
        decode([encoded(Image.new("I;16", (2, 2)))])


def test_a_constant_channel_is_only_shifted(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "flat", "train", image=[picture(51)] * 10, label=[0, 1] * 5)
    data = load(folder)
    assert data.std == (1.0,)
    assert data.train.inputs.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": 4, "name": list("abcd")}, r"no label columns \(its columns: image, name\)"),
        ({"text": list("abcd"), "label": [0, 1] * 2}, r"no image columns \(its columns: text, label\)"),
        ({"image": 4, "image2": 4, "label": [0, 1] * 2}, "2 image columns"),
        ({"image": 4, "label": [0.5, 1.5] * 2}, "must be whole numbers or words"),
    ],
)
def test_folders_that_are_not_labelled_images(tmp_path: Path, columns: dict, message: str) -> None:
    made = {
        name: [picture(i) for i in range(value)] if isinstance(value, int) else value for name, value in columns.items()
    }
    with pytest.raises(InputError, match=message) as error:
        load(parquet(tmp_path / "odd", "train", **made))
    assert "\n" not in str(error.value)


def test_unlabelled_samples_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "hidden"
    folder.mkdir()
    table = datasets.Dataset.from_dict({"image": [picture(0)] * 4, "label": [0, 1, -1, 0]})
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    table.cast(kinds).to_parquet(folder / "train.parquet")
    with pytest.raises(InputError, match=r"'hidden' has samples without a label \(label -1\)"):
        load(folder)


def test_images_of_different_sizes_in_a_folder(tmp_path: Path) -> None:
    images = [picture(0), picture(0, (5, 4))] * 5
    with pytest.raises(InputError, match=r"image 0 of train of 'sizes' is 3×2, image 1 of train of 'sizes' is 5×4"):
        load(parquet(tmp_path / "sizes", "train", image=images, label=[0] * 10))


def test_a_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match="broken' cannot be read as a data set") as error:
        load(tmp_path / "broken")
    assert "\n" not in str(error.value)


def test_an_empty_folder_and_too_few_samples(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").mkdir()
    picture(0).save(tmp_path / "empty" / ".hidden" / "a.png")
    (tmp_path / "empty" / "notes.txt").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="empty' holds neither parquet or CSV files nor images"):
        load(tmp_path / "empty")
    with pytest.raises(InputError, match="too few to set aside 20% of each class"):
        load(parquet(tmp_path / "few", "train", image=[picture(0)] * 2, label=[0, 1]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "unknown data set 'mnits'; name one of digits, mnist, cifar10, shakespeare, an 'owner/name'"),
        ("./nowhere", "there is no folder './nowhere'"),
        ("../some/where/else", "there is no folder"),
        (Path("nowhere"), "there is no folder 'nowhere'"),
        ("", "unknown data set ''"),
        (__file__, "is a file; name the folder"),
    ],
)
def test_names_that_mean_nothing_are_refused_before_any_work(
    name: str | Path, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("started to load"))
    with pytest.raises(InputError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"limit": 0}, "limit is 0; it must be 1 or more"),
        ({"test_fraction": 0.0}, "test_fraction is 0.0; it must lie between 0 and 1"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0"),
        ({"natural": "writer"}, "digits has no column 'writer'"),
    ],
)
def test_settings_out_of_range_are_refused(wish: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load("digits", **wish)


def test_an_unreachable_hub_says_so_soon(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Against a port of this machine that nobody listens to, so that no test asks the real hub."""
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached for 'no-such/pictures'; name a local folder"):
        load("no-such/pictures")
    assert not datasets.config.HF_HUB_OFFLINE
    assert capsys.readouterr() == ("", "")


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedma\[data\]'"):
        load("digits")


def test_a_split_with_unequal_parts_is_refused() -> None:
    with pytest.raises(InputError, match="3 inputs, 2 labels"):
        Split(torch.zeros(3, 1), torch.zeros(2, dtype=torch.int64))


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs ../shared/data/mnist beside the project")
def test_real_mnist_is_read() -> None:
    data = load(SHARED / "mnist")
    assert (data.train.inputs.shape, data.test.inputs.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    np.testing.assert_allclose((*data.mean, *data.std), (0.1307, 0.3081), atol=5e-5)
    assert data.train.labels.bincount()[:2].tolist() == [5923, 6742]


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="needs ../shared/data/cifar10 beside the project")
def test_real_cifar10_is_read() -> None:
    data = load(SHARED / "cifar10", limit=500)
    assert (data.train.inputs.shape, data.classes[0]) == ((500, 3, 32, 32), "airplane")
    assert (data.test.labels.bincount() == 1000).all()
