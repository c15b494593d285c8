"""What a run folder may hold when a run goes on in it: its own things, inside it, as this version writes them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.algorithms import FedMAState
from fedma.engines import Traffic
from fedma.errors import CheckpointError, InputError
from fedma.experiments import checkpoint, run_folder
from fedma.experiments.callback import Silent
from fedma.experiments.run import resume, run
from fedma.experiments.run_state import RunState
from fedma.experiments.settings import Settings
from interrupting import Stop, contents

SETTINGS = Settings(
    model="mlp", method=("fedavg",), rounds=3, clients=3, alpha=1.0, local_epochs=1, limit=200, workers=1
)


def interrupted(folder: Path, own: Settings = SETTINGS) -> Path:
    """A run stopped in its second round."""
    with pytest.raises(KeyboardInterrupt):
        run(own, folder, Stop(reply=5))
    return folder


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    one, other = interrupted(tmp_path / "one"), interrupted(tmp_path / "other", replace(SETTINGS, seed=1))
    shutil.copy(other / "checkpoint.safetensors", one / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="another run"):
        resume(one, Silent())


@pytest.mark.parametrize("name", ["results.jsonl", "run.partial.json", "models/fedavg.safetensors"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder, precious = interrupted(tmp_path / "run"), tmp_path / "precious"
    precious.write_text("precious")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious)
    with pytest.raises(InputError, match="is a link"):
        resume(folder, Silent())
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("method", ["../../precious", "fedavg/../../precious", ""])
def test_a_method_is_no_path(tmp_path: Path, method: str) -> None:
    folder = interrupted(tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    facts["settings"]["method"] = [method]
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="method"):
        resume(folder, Silent())


@pytest.mark.parametrize("full", ["save_file", "write"])
def test_a_disk_that_is_full_is_named_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """The models at the end, or a line of results, find no room: the run goes on once there is some."""

    def no_room(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "run"
    with monkeypatch.context() as context:
        if full == "save_file":
            context.setattr(run_folder, "save_file", no_room)
        else:
            opened = Path.open
            context.setattr(
                Path, "open", lambda path, mode="r", *a, **k: (no_room if mode == "a" else opened)(path, mode, *a, **k)
            )
        with pytest.raises(CheckpointError, match=r"No space left on device; make room .* --resume"):
            run(SETTINGS, folder, Silent())
    resume(folder, Silent())
    assert contents(folder) == contents(run(SETTINGS, tmp_path / "whole", Silent()))


def test_a_disk_that_is_full_at_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(Path, "write_text", no_room)
        with pytest.raises(InputError, match=r"run cannot be written to: .*No space left on device; name another"):
            run(SETTINGS, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just(()), st.just({}),
    st.just(torch.zeros(2)),
)  # fmt: skip
GOOD = RunState("fedma", FedMAState(round=1, weights={"a": torch.ones(1)}), Traffic(1, 2, 3, 4)).to_dict()


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.dictionaries(st.sampled_from([*GOOD, "x"]), values),
    st.dictionaries(st.sampled_from([*GOOD["state"], "maps", "first"]), values),
)
def test_a_run_state_of_other_types_is_told_from_a_good_one(top: dict[str, Any], state: dict[str, Any]) -> None:
    try:
        found = RunState.from_dict({**GOOD, "state": {**GOOD["state"], **state}, **top}, FedMAState)
    except (KeyError, TypeError):
        return
    assert {type(value) for value in (found.state.round, found.state.exchange, found.spent)} == {int}
    assert type(found.state.weights) is dict


def test_a_run_state_of_the_version_before_loads() -> None:
    state = {name: value for name, value in GOOD["state"].items() if name != "assignments"}
    slots = {0: {"fc1": torch.tensor([1, 0])}}
    found = RunState.from_dict({**GOOD, "state": {**state, "maps": slots, "models": ()}}, FedMAState)
    assert isinstance(found.state, FedMAState)
    assert found.state.assignments is slots


def test_a_run_state_comes_back() -> None:
    assert RunState.from_dict(GOOD, FedMAState).to_dict() == GOOD


def test_checkpoints_are_refused_before_anything_is_overwritten(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in folder.glob("checkpoint*"):
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"digest differs.*start the run anew"):
        resume(folder, Silent())
    for path, content in before.items():
        if not path.name.startswith("checkpoint"):
            assert path.read_bytes() == content
    assert checkpoint.exists(folder)
