"""Reading run folders, rows and their intervals, tables, the figure, the whole report."""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedma.errors import InputError, MissingExtra
from fedma.report import markdown, plot, read, report, rows, table, write_csv
from fedma.report.summary import curve, mean_and_interval, run_groups
from report.made import SETTINGS, line, run_folder

LINES = [
    line("fedavg", 1, 0.5, parameters=1000),
    line("fedma", 1, 0.9),
    line("fedavg", 2, 0.75, parameters=1000, final=True),
    line("fedma", 2, 0.97, final=True),
    line("ensemble", 1, 0.8, bytes_down=0, final=True),
    line("pooled", 0, 0.98, bytes_up=0, bytes_down=0, parameters=1000, final=True),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_folder(tmp_path / "run", LINES)


def seeds(tmp_path: Path, accuracies: list[float], **others: object) -> list[Path]:
    """One run a seed, of FedMA alone."""
    return [
        run_folder(tmp_path / f"seed{seed}{others}", [line("fedma", 1, accuracy)], seed=seed, **others)
        for seed, accuracy in enumerate(accuracies)
    ]


def test_a_run_is_read_whole(folder: Path) -> None:
    run = read(folder)
    assert run.folder == folder
    assert run.settings == SETTINGS
    assert run.methods == ("fedavg", "fedma", "ensemble", "pooled")
    assert [evaluation.accuracy for evaluation in run.of("fedma")] == [0.9, 0.97]
    assert run.of("fedavg")[1].megabytes == 10.0
    assert run.of("fedma")[0].growth == 1.08
    assert run.notes == ()


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    run = read(run_folder(tmp_path / "run", [line("fedma", 1, 0.9, memory=7, loss=None)]))
    assert run.evaluations[0].loss is None


@given(cut=st.integers(1, 10_000))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_a_run_cut_anywhere_in_its_last_line_is_read_and_noted(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = run_folder(tmp_path_factory.mktemp("cut") / "run", LINES)
    whole = (folder / "results.jsonl").read_bytes()
    last = len(whole.rstrip(b"\n").rpartition(b"\n")[2])
    (folder / "results.jsonl").write_bytes(whole[: -1 - cut % last - 1] if cut % last < last - 1 else whole[:-1])
    run = read(folder)
    if cut % last < last - 1:
        assert run.methods == ("fedavg", "fedma", "ensemble")
        assert run.notes == ("its last result was cut off while it was written, and is left out",)
        assert "cut off" in table([run])
    else:
        assert len(run.evaluations) == len(LINES)
        assert run.notes == ()


def test_an_unfinished_run_is_noted(tmp_path: Path) -> None:
    run = read(run_folder(tmp_path / "run", LINES, finished=False))
    assert run.notes == ("has not finished",)
    assert table([run]).rstrip().endswith("has not finished.")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", None, r"run\.json cannot be read \(No such file or directory\)"),
        ("run.json", "{", r"run\.json is not JSON"),
        ("run.json", "[]", r"run\.json has no settings"),
        ("run.json", "{}", r"run\.json has no settings"),
        ("run.json", b"\xff\xfe\xfa", r"run\.json is not JSON"),
        ("results.jsonl", None, r"results\.jsonl cannot be read"),
        ("results.jsonl", "", r"results\.jsonl holds no result yet"),
        ("results.jsonl", '{"method": "fed', r"results\.jsonl holds no result yet"),
        ("results.jsonl", '{"meth\n' + json.dumps(LINES[0]) + "\n", r"results\.jsonl, line 1, is not JSON"),
        ("results.jsonl", "{ not JSON\n", r"results\.jsonl, line 1, is not JSON"),
        ("results.jsonl", "7\n", "line 1, is not an object"),
        ("results.jsonl", '{"method": "fedma", "round": 1}\n', "line 1, lacks accuracy, loss, bytes_up"),
        ("results.jsonl", json.dumps(line("fedma", 1, "high")) + "\n", "accuracy is 'high', which cannot be"),
        ("results.jsonl", json.dumps(line("fedma", 1, True)) + "\n", "accuracy is True, which cannot be"),
        ("results.jsonl", json.dumps(line("fedma", 1, math.nan)) + "\n", "accuracy is nan, which cannot be"),
        ("results.jsonl", json.dumps(line("fedma", 1, 97.0)) + "\n", "accuracy is 97.0, which cannot be"),
        ("results.jsonl", json.dumps(line("fedma", 1, 0.9, bytes_up=0.5)) + "\n", "bytes_up is 0.5"),
        ("results.jsonl", json.dumps(line("fedma", 1, 0.9, client_parameters=0)) + "\n", "client_parameters is 0"),
        ("results.jsonl", json.dumps(line("fedma", 1, 0.9, bytes_up=10**400)) + "\n", "bytes_up is 1000"),
        ("results.jsonl", json.dumps(line("fedma", 1, 0.9, widths={"fc1": 3})) + "\n", "widths is {'fc1': 3}"),
        ("results.jsonl", json.dumps(line("fedma", 1, 0.9, owners={"fc1": []})) + "\n", "owners is {'fc1': .*cannot"),
        ("results.jsonl", json.dumps(line("fedma", 1, 0.9, client_accuracy=[2])) + "\n", "client_accuracy is"),
        ("results.jsonl", "[" * 100_000 + "\n", "line 1, is not JSON"),
        ("run.json", '{"settings": {}, "data": {"class_counts": [[1], [1, 2]]}}', "class_counts is .*cannot be"),
        ("run.json", '{"settings": {}, "data": 3}', "data is 3, which cannot be"),
        ("run.json", '{"settings": {}, "sources": ["flag"]}', "sources is .*cannot be"),
    ],
)
def test_a_broken_run_folder_is_one_clear_line(
    folder: Path, file: str, content: str | bytes | None, message: str
) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as error:
        read(folder)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        read(tmp_path / "nowhere")


def test_rows_of_one_run(folder: Path) -> None:
    found = {row["method"]: row for row in rows([read(folder)])}
    assert list(found) == ["FedAvg", "FedMA", "Ensemble", "Pooled"]
    assert found["FedMA"] == {
        "settings": "",
        "method": "FedMA",
        "accuracy": 97.0,
        "interval": None,
        "seeds": 1,
        "rounds": 2.0,
        "megabytes_up": 4.0,
        "megabytes_down": 6.0,
        "local_epochs": 10.0,
        "growth": 1.08,
        "seconds": 1.5,
    }
    assert found["Ensemble"]["megabytes_down"] == 0


def test_the_interval_is_students() -> None:
    """By hand: 1, 2, 3 have mean 2 and deviation 1; t(0.975, 2) = 4.30265; 4.30265/√3 = 2.48414."""
    mean, half = mean_and_interval([1.0, 2.0, 3.0])
    np.testing.assert_allclose((mean, half), (2.0, 2.48414), rtol=1e-5)
    assert mean_and_interval([5.0]) == (5.0, None)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_runs_that_differ_in_the_seed_alone_are_averaged_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, accuracies: list[float], random: object
) -> None:
    runs = [read(folder) for folder in seeds(tmp_path_factory.mktemp("seeds"), accuracies)]
    random.shuffle(runs)  # type: ignore[attr-defined]
    (row,) = rows(runs)
    assert row["seeds"] == len(accuracies)
    np.testing.assert_allclose(row["accuracy"], 100 * np.mean(accuracies), atol=1e-9)
    np.testing.assert_allclose(row["interval"], mean_and_interval([100 * a for a in accuracies])[1], atol=1e-9)


def test_runs_of_other_settings_keep_their_own_rows_and_say_in_what_they_differ(tmp_path: Path) -> None:
    runs = [read(folder) for alpha in (0.5, 0.1) for folder in seeds(tmp_path, [0.8, 0.9], alpha=alpha)]
    assert [(row["settings"], row["seeds"]) for row in rows(runs)] == [("alpha=0.5", 2), ("alpha=0.1", 2)]
    assert "alpha=0.1  FedMA" in table(runs)


def test_settings_are_told_in_words(tmp_path: Path) -> None:
    different = ({"join": ["3:2", "1:2"], "grow": True}, {"join": [], "grow": False})
    runs = [read(folder) for own in different for folder in seeds(tmp_path, [0.8], **own)]
    assert [row["settings"] for row in rows(runs)] == ["join=3:2 1:2, grow=yes", "join=none, grow=no"]


def test_methods_run_apart_share_a_table(tmp_path: Path) -> None:
    apart = [run_folder(tmp_path / method, [line(method, 1, 0.9)], method=[method]) for method in ("fedma", "fedavg")]
    assert [(row["settings"], row["method"], row["seeds"]) for row in rows([read(run) for run in apart])] == [
        ("", "FedMA", 1),
        ("", "FedAvg", 1),
    ]


@pytest.mark.parametrize("changed", [{}, {"workers": 2}, {"device": "cpu"}])
def test_a_repeated_run_counts_once_and_is_noted(tmp_path: Path, changed: dict[str, object]) -> None:
    first = run_folder(tmp_path / "a", [line("fedma", 1, 0.5)])
    second = run_folder(tmp_path / "b", [line("fedma", 1, 0.7)], **changed)
    runs = [read(first), read(second)]
    (row,) = rows(runs)
    assert (row["seeds"], row["accuracy"]) == (1, 70.0)
    assert f"{second}: FedMA repeats {first}, seed and all; the later counts." in table(runs)


def test_the_table_is_aligned(folder: Path) -> None:
    assert table([read(folder)]) == (
        "method    test accuracy  rounds  MB up  MB down  local epochs  growth\n"
        "--------  -------------  ------  -----  -------  ------------  ------\n"
        "FedAvg          75.00 %       2   4.00     6.00            10   ×1.00\n"
        "FedMA           97.00 %       2   4.00     6.00            10   ×1.08\n"
        "Ensemble        80.00 %       1   2.00        0             5   ×1.08\n"
        "Pooled          98.00 %       0      0        0             0   ×1.00\n"
    )


def test_the_table_of_several_seeds_says_what_its_numbers_are(tmp_path: Path) -> None:
    text = table([read(folder) for folder in seeds(tmp_path, [0.96, 0.97, 0.98])])
    assert "FedMA   97.00 ± 2.48 % (3)" in text
    assert text.endswith("Means over seeds ± half-width of the 95 % t-interval (number of seeds).\n")


def test_small_and_large_megabytes_stay_readable(tmp_path: Path) -> None:
    entries = [
        line("pfnm", 1, 0.9, bytes_up=61_000, bytes_down=65_000),
        line("fedavg", 1, 0.9, bytes_up=1_234_567_890, bytes_down=1),
    ]
    text = table([read(run_folder(tmp_path / "run", entries))])
    assert "0.06 " in text
    assert "1,234.57" in text
    assert "<0.01" in text


def test_markdown_and_csv_hold_the_same_rows(folder: Path, tmp_path: Path) -> None:
    found = rows([read(folder)])
    lines = markdown(found).splitlines()
    assert lines[1] == "| :-- | --: | --: | --: | --: | --: | --: |"
    assert lines[3] == "| FedMA | 97.00 % | 2 | 4.00 | 6.00 | 10 | ×1.08 |"
    write_csv(found, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [row["method"] for row in again] == ["FedAvg", "FedMA", "Ensemble", "Pooled"]
    assert (again[1]["accuracy"], again[1]["interval"]) == ("97.0", "")


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    for empty in (lambda: table([]), lambda: markdown([]), lambda: write_csv([], tmp_path / "a.csv")):
        with pytest.raises(InputError, match="name at least one run"):
            empty()
    with pytest.raises(InputError, match="name at least one run"):
        plot([], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_curve_averages_evaluation_by_evaluation(tmp_path: Path) -> None:
    entries = [[line("fedma", 1, 0.4), line("fedma", 2, 0.6)], [line("fedma", 1, 0.6)]]
    runs = [read(run_folder(tmp_path / str(seed), found, seed=seed)) for seed, found in enumerate(entries)]
    (case,) = run_groups(runs)
    first, second = curve(case.series["fedma"])
    np.testing.assert_allclose((first.x, first.value), (5.0, 50.0))
    assert (second.x, second.value, second.interval) == (10.0, 60.0, None)
    assert [point.x for point in curve(case.series["fedma"], "round")] == [1, 2]


def texts(svg: Path) -> str:
    return svg.read_text(encoding="utf-8")


def test_the_figure_names_every_method_in_order_of_accuracy(tmp_path: Path) -> None:
    run = read(run_folder(tmp_path / "run", [*LINES, line("local", 0, 0.3, bytes_up=0, bytes_down=0)]))
    plot([run], tmp_path / "a.svg")
    drawn = texts(tmp_path / "a.svg")
    legend = ("Pooled  98.0 %", "FedMA  97.0 %", "Ensemble  80.0 %", "FedAvg  75.0 %", "Local  30.0 %")
    places = [drawn.index(name) for name in legend]
    assert places == sorted(places)
    assert "megabytes sent, up and down, all clients<" in drawn
    plot([run], tmp_path / "b.svg")
    assert texts(tmp_path / "b.svg") == drawn


def test_megabytes_are_on_a_log_scale_when_they_span_more_than_twentyfold(tmp_path: Path) -> None:
    entries = [line("pfnm", 1, 0.9), *(line("fedavg", round, 0.5) for round in range(0, 22))]
    plot([read(run_folder(tmp_path / "run", entries))], tmp_path / "a.svg")
    assert "(log scale)" in texts(tmp_path / "a.svg")


def test_the_figure_has_a_panel_a_case_and_draws_unknown_methods(tmp_path: Path) -> None:
    runs = [
        read(run_folder(tmp_path / f"{alpha}{seed}", [*LINES, line("scaffold", 1, 0.7)], alpha=alpha, seed=seed))
        for alpha in (0.1, 0.5, 0.9)
        for seed in (0, 1)
    ]
    plot(runs, tmp_path / "a.svg")
    drawn = texts(tmp_path / "a.svg")
    assert all(f"alpha={alpha}" in drawn for alpha in (0.1, 0.5, 0.9))
    assert drawn.count("scaffold  70.0 %") == 3


def test_a_run_without_communication_can_be_drawn(tmp_path: Path) -> None:
    plot([read(run_folder(tmp_path / "run", [LINES[-1]]))], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_figure_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a\.gif' ends in '\.gif'; a figure is one of \.png, \.svg, \.pdf"):
        plot([read(folder)], tmp_path / "a.gif")


def test_without_matplotlib_the_error_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedma\[report\]'"):
        plot([read(folder)], tmp_path / "a.png")
    with pytest.raises(MissingExtra):
        report([folder], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_report_is_a_page_tables_and_figures(folder: Path, tmp_path: Path) -> None:
    written = report([folder], tmp_path / "deep" / "report")
    drawn = ("accuracy_vs_megabytes", "accuracy_vs_rounds", "accuracy_vs_local_epochs", "partition", "growth")
    files = [f"figures/{name}.{kind}" for name in drawn for kind in ("png", "svg", "csv")]
    expected = [tmp_path / "deep" / "report" / name for name in ("report.html", "table.md", "table.csv", *files)]
    assert written == expected
    assert sorted(written) == sorted(path for path in (tmp_path / "deep").rglob("*") if path.is_file())
    with Image.open(written[3]) as image:
        assert min(image.size) > 500
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(2**24)}
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)} <= colours


def test_nothing_is_written_when_a_run_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        report([folder, tmp_path / "nowhere"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_report_that_cannot_be_written_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written into"):
        report([folder], tmp_path / "file" / "report")
