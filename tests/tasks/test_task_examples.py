"""Real data for every task, each trained for a round or two, tiny."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedma.data import Dataset, Split, load
from fedma.experiments.callback import SILENT
from fedma.experiments.run import run
from fedma.experiments.run_folder import load_model
from fedma.experiments.settings import Settings
from fedma.report import read, report
from fedma.seeds import generator
from fedma.tasks import Task
from tasks.columns import Columns, Pixels, Speaker

SHAKESPEARE = Path(__file__).parents[2] / "../shared/data/shakespeare/train-00000-of-00001.parquet"
SMALL = {"clients": 2, "rounds": 1, "local_epochs": 2, "output_epochs": 1, "workers": 1, "lr": 0.05, "min_samples": 1}


def pixels() -> nn.Module:
    return Pixels(classes=11, wide=8)


def speaker() -> nn.Module:
    return Speaker(tokens=128, hidden=16)


def digits(limit: int = 300) -> Dataset:
    return load("digits", limit=limit, test_limit=100)


def diabetes() -> Dataset:
    """Scikit-learn's diabetes data: ten numbers of 442 patients, and how far the disease went in a year."""
    sklearn = pytest.importorskip("sklearn.datasets")
    values, target = sklearn.load_diabetes(return_X_y=True)
    inputs = torch.from_numpy(values).float() * 20
    wanted = torch.from_numpy(target).float()
    wanted = (wanted - wanted.mean()) / wanted.std()
    return Dataset("diabetes", Split(inputs[:342], wanted[:342]), Split(inputs[342:], wanted[342:]), ())


def several_labels() -> Dataset:
    """Digits with three labels each, made from their number: even, above four, a multiple of three."""
    data = digits()

    def labelled(split: Split) -> Split:
        number = split.labels
        labels = torch.stack([number % 2 == 0, number > 4, number % 3 == 0], 1).float()
        return Split(split.inputs, labels)

    return Dataset("digits", labelled(data.train), labelled(data.test), ("even", "above four", "multiple of three"))


def textured() -> Dataset:
    """Digits on a textured background: each pixel is of its digit, or of the background, which is class 10."""
    data = digits(150)

    def drawn(split: Split, name: str) -> Split:
        ink = split.inputs[:, 0] > 0.3
        stripes = torch.sin(torch.arange(8.0)[:, None] * 2 + torch.arange(8.0) * torch.arange(1, 4)[:, None, None])
        kind = torch.randint(3, (len(split),), generator=generator(0, "texture", name))
        images = torch.where(ink, split.inputs[:, 0], 0.3 * stripes[kind])
        return Split(images[:, None], torch.where(ink, split.labels[:, None, None], torch.tensor(10)))

    return Dataset("textured digits", drawn(data.train, "train"), drawn(data.test, "test"), tuple(map(str, range(11))))


def table(rows: int) -> Any:
    parquet = pytest.importorskip("pyarrow.parquet")
    if not SHAKESPEARE.exists():
        pytest.skip("needs ../shared/data/shakespeare beside the project")
    return next(parquet.ParquetFile(SHAKESPEARE).iter_batches(rows)).to_pydict()


def bytes_of(texts: list[str]) -> Tensor:
    return torch.tensor([[min(ord(letter), 127) for letter in text] for text in texts])


def shakespeare() -> Dataset:
    """Windows of text, and the letter after each."""
    found = table(20_000)
    tokens, following = bytes_of(found["x"][::40]), bytes_of(found["y"][::40])[:, 0]
    tokens = tokens.to(torch.uint8)
    train, test = (Split(tokens[part], following[part]) for part in (slice(400), slice(400, 500)))
    return Dataset("shakespeare", train, test, tuple(map(chr, range(128))), vocabulary=128)


def speakers() -> Dataset:
    """Text of the two who speak most, and who it is."""
    found = table(60_000)
    names = list(dict.fromkeys(found["character_id"]))
    most = sorted(names, key=lambda name: -found["character_id"].count(name))[:2]
    rows = [row for row, name in enumerate(found["character_id"]) if name in most][::60]
    tokens = bytes_of([found["x"][row][:24] for row in rows])
    labels = torch.tensor([most.index(found["character_id"][row]) for row in rows])
    order = torch.randperm(len(rows), generator=generator(0, "speakers"))[:250]
    columns = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    parts = (
        Columns({name: column[part] for name, column in columns.items()}, labels[part])
        for part in (order[:200], order[200:])
    )
    train, test = parts
    return Dataset("speakers", train, test, tuple(most))  # type: ignore[arg-type]


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=128,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        num_labels=2,
    )
    return transformers.BertForSequenceClassification(config)


@pytest.mark.parametrize(
    ("task", "data", "model", "methods"),
    [
        ("regression", diabetes, "mlp-16", ("fedma", "fedavg", "ensemble", "pfnm")),
        ("multi-label", several_labels, "mlp-16", ("fedma", "fedavg", "ensemble", "pooled")),
        ("segmentation", textured, "tasks.test_task_examples:pixels", ("fedma", "fedavg", "ensemble")),
        ("next-token", shakespeare, "tasks.test_task_examples:speaker", ("fedma", "fedavg")),
        ("classification", speakers, "tasks.test_task_examples:bert", ("fedma", "fedavg")),
        ("model-loss", speakers, "tasks.test_task_examples:bert", ("fedma", "fedavg")),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_real_data(
    task: str, data: Callable[[], Dataset], model: str, methods: tuple[str, ...], tmp_path: Path
) -> None:
    settings = Settings(task=task, model=model, method=methods, **SMALL)
    folder = run(settings, tmp_path / "run", SILENT, dataset=data())
    found = read(folder)
    assert set(methods) <= set(found.methods)
    main = next(iter(found.metrics))
    for line in found.evaluations:
        assert line.value(main) is not None
    facts = json.loads((folder / "run.json").read_text())
    assert facts["task"]["name"] == task
    if ":" not in model:
        assert isinstance(load_model(folder / "models" / "fedma.safetensors"), nn.Module)
    if task in ("regression", "classification"):
        files = report([folder], tmp_path / "report")
        page = files[0].read_text()
        assert main in page
        assert (tmp_path / "report" / "figures" / f"{main}_vs_rounds.png").exists()
        assert ("Further metrics" in page) == (task == "regression")
        assert ("Accuracy on each class" in page) == (task == "classification")
        assert (tmp_path / "report" / "figures" / "confusion.png").exists() == (task == "classification")


class Quantile:
    """The task of docs/how-to/my-task.md, with its two methods."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.errors(model, batch).mean()

    def judge(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        return {"quantile_loss": self.errors(model, batch).sum()}

    def errors(self, model: nn.Module, batch: Any) -> Tensor:
        inputs, wanted = batch
        above = wanted - model(inputs)[:, 0]
        return torch.maximum(0.9 * above, -0.1 * above)


class QuantileModel(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))


@pytest.mark.parametrize("by_name", [True, False])
def test_a_task_of_ones_own(by_name: bool, tmp_path: Path) -> None:
    name = {"task": "tasks.test_task_examples:Quantile"} if by_name else {}
    settings = Settings(model="tasks.test_task_examples:QuantileModel", method=("fedma", "fedavg"), **SMALL, **name)
    own: Task | None = None if by_name else Quantile()
    folder = run(settings, tmp_path / "run", SILENT, dataset=diabetes(), task=own)
    found = read(folder)
    assert found.metrics == {"quantile_loss": "lower"}
    assert all(line.value("quantile_loss") > 0 for line in found.evaluations)
    assert [line.method for line in found.evaluations] == ["fedma", "fedavg"]


def test_the_command_line_takes_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fedma.cli import main

    (tmp_path / "settings.toml").write_text('task = "tasks.test_task_examples:Even"\nmodel = "mlp-8"\nlimit = 60\n')
    arguments = [
        "run",
        "--config",
        str(tmp_path / "settings.toml"),
        "--out",
        str(tmp_path / "run"),
        "--test-limit",
        "40",
    ]
    main([*arguments, "--clients", "2", "--local-epochs", "1", "--workers", "1", "--partition", "iid"])
    said = capsys.readouterr()
    assert "even" in said.out
    assert "round  1: even" in said.err


class Even:
    """Whether a digit is even, from the first output."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        inputs, labels = batch
        wanted = (labels % 2 == 0).float()
        return nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], wanted)

    def judge(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        inputs, labels = batch
        return {"even": ((model(inputs)[:, 0] > 0) == (labels % 2 == 0)).sum()}
