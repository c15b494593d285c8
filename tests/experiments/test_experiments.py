"""Experiments: a run folder that holds everything, the same again for the same seed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from federation import texts
from fedma.algorithms import Reply
from fedma.data import from_arrays, load
from fedma.errors import GraphError, InputError, ReplyError
from fedma.experiments.assignments import load_assignments
from fedma.experiments.callback import ExchangeStart, Silent
from fedma.experiments.federation import _device
from fedma.experiments.run import run
from fedma.experiments.run_folder import load_model
from fedma.experiments.settings import MethodName, Settings, from_toml
from fedma.methods import METHODS
from fedma.training import evaluate

QUICK = Settings(model="mlp", clients=3, alpha=1.0, local_epochs=1, output_epochs=1, limit=200, lr=0.05, workers=1)


def results(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "all"
    return run(replace(QUICK, method=METHODS.names, rounds=2), folder, Silent())


def test_every_method_writes_its_results(everything: Path) -> None:
    lines = results(everything)
    assert [line["method"] for line in lines if line["final"]] == [
        "fedma", "fedavg", "fedprox", "fedavgm", "fedadam", "pfnm", "local", "ensemble", "pooled",
    ]  # fmt: skip
    assert all(0 <= line["accuracy"] <= 1 for line in lines)
    assert [line["round"] for line in lines if line["method"] == "fedma"] == [1, 2]
    final = {line["method"]: line for line in lines if line["final"]}
    assert final["fedavg"]["bytes_up"] > 2 * 3 * 4 * final["fedavg"]["client_parameters"]
    assert final["pooled"]["bytes_up"] == 0
    assert final["pfnm"]["bytes_down"] < 2000
    for method in set(final) - {"local", "pooled"}:
        for way in ("bytes_up", "bytes_down"):
            assert sum(final[method][f"client_{way}"]) == final[method][way]
            assert len(final[method][f"client_{way}"]) == 3
    assert not any("client_bytes_up" in line for line in lines if not line["final"] or line["method"] == "pooled")
    assert final["fedma"]["local_epochs"] == 2 * (1 + 1)
    assert final["fedma"]["widths"]["fc1"][0] == 100 <= final["fedma"]["widths"]["fc1"][1]


def test_run_json_holds_what_is_needed_to_do_it_again(everything: Path) -> None:
    facts = json.loads((everything / "run.json").read_text())
    assert facts["settings"]["alpha"] == 1.0
    assert facts["settings"]["seed"] == 0
    assert facts["versions"]["torch"]
    assert facts["finished"] >= facts["started"]
    counts = torch.tensor(facts["data"]["class_counts"])
    assert counts.shape == (3, 10)
    assert counts.sum() == facts["data"]["train"] == 200


@pytest.mark.parametrize("method", ["fedma", "fedavg", "pfnm"])
def test_a_saved_model_can_be_built_again(everything: Path, method: str) -> None:
    model = load_model(everything / "models" / f"{method}.safetensors")
    data = load("digits", seed=0, limit=200)
    final = next(line for line in results(everything) if line["method"] == method and line["final"])
    assert evaluate([model], data.test).accuracy == pytest.approx(final["accuracy"], abs=1e-9)


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    def numbers(name: str, **changes: object) -> list[tuple[float, float]]:
        folder = run(replace(QUICK, method=("fedma",), **changes), tmp_path / name, Silent())  # type: ignore[arg-type]
        return [(line["accuracy"], line["loss"]) for line in results(folder)]

    first = numbers("a")
    assert numbers("b") == first
    assert numbers("c", workers=2) == first
    assert numbers("d", seed=1) != first


def test_equal_bytes_gives_plain_averaging_what_fedma_used(tmp_path: Path) -> None:
    folder = run(replace(QUICK, method=("fedavg", "fedma"), rounds=2, equal_bytes=True), tmp_path / "run", Silent())
    final = {line["method"]: line for line in results(folder) if line["final"]}
    used = {method: line["bytes_up"] + line["bytes_down"] for method, line in final.items()}
    one_round = used["fedavg"] / final["fedavg"]["round"]
    assert used["fedavg"] <= used["fedma"] < used["fedavg"] + one_round


def test_common_and_independent_initial_weights(tmp_path: Path) -> None:
    folders = [
        run(replace(QUICK, method=("fedavg",), init=init), tmp_path / init, Silent())
        for init in ("common", "independent", "auto")
    ]
    losses = [results(folder)[0]["loss"] for folder in folders]
    assert losses[0] == losses[2] != losses[1]


def test_recurrent_units_are_matched_by_what_they_read_of_each_other(tmp_path: Path) -> None:
    train, test = texts(120), texts(30, seed=1)
    data = from_arrays((train.inputs, train.labels), (test.inputs, test.labels), vocabulary=12)
    settings = replace(QUICK, model="char-gru", method=("fedma",), limit=None, test_limit=None, alpha=1.0)
    matched = []
    for recurrent in (False, True):
        folder = run(replace(settings, recurrent=recurrent), tmp_path / str(recurrent), dataset=data)
        matched.append(load_assignments(folder, "fedma")[1])
    assert torch.equal(matched[0]["embedding"], matched[1]["embedding"])
    assert not torch.equal(matched[0]["recurrent"], matched[1]["recurrent"])


def test_a_server_whose_own_steps_diverge_is_told(tmp_path: Path) -> None:
    settings = replace(QUICK, method=("fedavgm",), rounds=1, server_lr=1e39)
    with pytest.raises(ReplyError, match=r"global model has .* not finite, though no reply has: .*lower"):
        run(settings, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["fedma", "pfnm"])
def test_a_model_of_which_no_units_can_be_matched_is_refused(method: MethodName, tmp_path: Path) -> None:
    settings = replace(QUICK, model="federation_models:running_sums", method=("fedavg", method))
    with pytest.raises(GraphError, match=r"those of '1.weight' stay in place \(cumsum\)"):
        run(settings, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()
    run(replace(settings, method=("fedavg",)), tmp_path / "run", Silent())


def test_a_folder_that_exists_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        run(QUICK, tmp_path, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": ("magic",)}, "'magic' is not known"),
        ({"model": "nothing"}, "'nothing' is not known"),
        ({"data": "no-such-data"}, "no-such-data"),
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"clients": 0}, "clients must be at least 1"),
        ({"clients": 5000}, "clients"),
        ({"local_epochs": 0}, "local_epochs"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"model": "federation_models:three_outputs"}, "10 classes"),
        ({"model": "federation_models:wrong_inputs"}, "does not take inputs"),
        ({"model": "federation_models:complex_weights"}, "'1.w' is torch.complex64"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"device": "cuda:700"}, "device 'cuda:700'"),
        ({"method": ("fedavg",), "equal_bytes": True}, "add fedma"),
        ({"partition": "natural"}, "natural"),
        ({"partition": "diagonal"}, "diagonal"),
        ({"init": "warm"}, "init .warm. is not known"),
        ({"optimizer": "lion"}, "lion"),
        ({"momentum": 1.0}, "momentum"),
        ({"max_growth": 0.5}, "max_growth"),
        ({"server_momentum": 1.0}, "server_momentum"),
        ({"method": ("pfnm",), "robust": "median"}, "pfnm knows neither"),
        ({"method": ("fedavg", "pfnm"), "clip": 1.0}, "pfnm knows neither"),
        ({"server_lr": 0.0}, "server_lr"),
        ({"participation": 0.0}, "participation"),
        ({"participation": 0.5, "method": ("fedma", "pfnm")}, "pfnm takes all clients"),
        ({"precision": "fp8"}, "precision"),
        ({"recurrent": True, "hyper": "reference"}, "recurrent: hyper=reference"),
    ],
)
def test_bad_settings_are_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run(replace(QUICK, **changes), tmp_path / "run", Silent())  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_settings_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('data = "digits"\nmethod = ["fedma", "fedavg"]\nlocal-epochs = 3\nlr = 1\nretrain_epochs = 2\n')
    assert from_toml(file) == Settings(method=("fedma", "fedavg"), local_epochs=3, lr=1, retrain_epochs=2)
    file.write_text('method = "pfnm"')
    assert from_toml(file).method == ("pfnm",)


@pytest.mark.parametrize(
    ("text", "words"),
    [("alpha = ", "not TOML"), ("alfa = 1", "'alfa' does not exist"), ('alpha = "x"', "should be float"),
     ("clients = 2.5", "should be int"), ("rounds = true", "should be int"),
     ("local_epochs = 1\nlocal-epochs = 2", "local-epochs twice")],
)  # fmt: skip
def test_bad_toml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        from_toml(file)


def test_missing_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        from_toml(tmp_path / "none.toml")


def test_other_files_are_no_models(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_text("nothing")
    for name in ("a", "b", "c"):
        with pytest.raises(InputError, match="no model that a run wrote"):
            load_model(tmp_path / f"{name}.safetensors")


def test_participation_draws_other_clients_each_round(tmp_path: Path) -> None:
    settings = replace(QUICK, method=("fedavg",), clients=5, participation=0.4, rounds=4)
    asked: list[set[int]] = []

    class Listens(Silent):
        def exchange(self, exchange: ExchangeStart) -> None:
            asked.append(set())

        def reply(self, reply: Reply) -> None:
            asked[-1].add(reply.client)

    run(settings, tmp_path / "run", Listens())
    assert [len(clients) for clients in asked] == [2, 2, 2, 2]
    assert len(set().union(*asked)) > 2
    first, again = results(tmp_path / "run"), results(run(settings, tmp_path / "again", Silent()))
    assert [line["loss"] for line in first] == [line["loss"] for line in again]


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [_device(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]
    with pytest.raises(InputError, match=r"'cuda:2' cannot be used here: .* numbered 0 to 1"):
        _device("cuda:2")
