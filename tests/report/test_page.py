"""The page: whole, readable by machines that read aloud, and harmless whatever the run folder says."""

import csv
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.report import plot, read, report
from fedma.report.page import page as html
from fedma.report.report_figure import DARK
from fedma.report.report_files import drawn
from report.made import line, run_folder

OWNED = {
    "widths": {"conv": [4, 6], "fc": [8, 8]},
    "owners": {"conv": [2, 1, 3], "fc": [0, 0, 8]},
    "client_accuracy": [0.9, 0.5, None],
}
LINES = [
    line("fedma", 1, 0.8, **OWNED),
    line("fedma", 2, 0.9, final=True, **OWNED),
    line("fedavg", 1, 0.7, client_accuracy=[0.6, 0.7, 0.8], final=True),
    line("local", 1, 0.4, bytes_up=0, bytes_down=0, client_accuracy=[0.8, 0.6, 0.3], own_accuracy=[0.3, 0.4, 0.5]),
]
FAULT = {"event": "fault", "round": 1, "client": 2, "kind": "timeout", "detail": "no answer in 3 s"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\u202e\ud800$\\frac$|{{7*7}}</style>-->"


class Page(HTMLParser):
    """What is on a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for own, attributes in self.tags if own == tag]


def page(folders: list[Path], out: Path) -> Page:
    report(folders, out)
    return Page((out / "report.html").read_text(encoding="utf-8"))


def amend(folder: Path, **facts: object) -> Path:
    """The run folder with other facts in its `run.json`."""
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two settings, two seeds of the first, with all that a run can record."""
    place = tmp_path_factory.mktemp("runs")
    made = [(f"a{seed}", {"seed": seed}) for seed in (0, 1)] + [("b", {"alpha": 0.1})]
    found = [run_folder(place / name, [*LINES, FAULT], **changes) for name, changes in made]
    data = {"name": "d", "train": 21, "test": 9, "classes": ["cat", "dog"], "class_counts": [[1, 2], [3, 4], [5, 6]]}
    memory = {"main": 300_000_000, "largest_child": 0}
    return [amend(folder, data=data, peak_memory=memory, sources={"alpha": "flag"}) for folder in found]


@pytest.fixture(scope="module")
def whole(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(folders, tmp_path_factory.mktemp("report"))


def test_everything_is_on_the_page(whole: Page) -> None:
    for words in (
        "FedMA 90.00 ± 0.00 % (2)",
        "alpha=0.1",
        "Accuracy against bytes",
        "Accuracy against rounds",
        "Accuracy against local epochs",
        "3 clients hold 21 samples, from 3 (client 0) to 11 (client 2), of 2.0 of 2 classes on average.",
        "grows by ×1.50 (conv, 4 → 6 units) at most, by ×1.00 (fc, 8 → 8 units) at least.",
        "of 14 slots, 79 % belong to all 3 clients and 14 % to one alone.",
        "FedMA serves 1 of 3 clients better than their own model, client 1 worst (50.0 %).",
        "FedAvg serves 2 of 3 clients better",
        "no answer in 3 s",
        "0.5 (flag)",
        "300 MB",
        "60.0 s",
    ):
        assert words in whole.text.replace("\N{NO-BREAK SPACE}", " "), words


def test_headings_are_in_order(whole: Page) -> None:
    levels = [int(tag[1]) for tag, _ in whole.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_it_can_be_read_aloud_and_walked_through_by_keyboard(whole: Page) -> None:
    ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
    assert [own for own in set(ids) if ids.count(own) > 1] == []
    for tag, attributes in whole.tags:
        if "aria-labelledby" in attributes:
            assert set(attributes["aria-labelledby"].split()) <= set(ids)
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids
        if tag == "th":
            assert attributes["scope"] in ("col", "row", "rowgroup")
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"]) > 30
        if tag == "figure":
            assert attributes["aria-labelledby"]
        if "overflow" in attributes.get("class", "") or attributes.get("class") == "wide":
            assert attributes["tabindex"] == "0"
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")
    assert whole.of("html") == [{"lang": "en"}]
    assert len(whole.of("figure")) == len(whole.of("svg")) == len(whole.of("figcaption")) == 7
    assert len(whole.of("table")) == len(whole.of("caption"))
    assert "javascript" not in str(whole.tags)


def test_it_needs_nothing_from_outside(whole: Page) -> None:
    for tag, attributes in whole.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "url(http" not in whole.text
    (policy,) = (own for own in whole.of("meta") if own.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_every_colour_that_it_uses_is_there_by_day_and_by_night(folders: list[Path], tmp_path: Path) -> None:
    page(folders[:1], tmp_path)
    text = (tmp_path / "report.html").read_text()
    used = set(re.findall(r"var\(--c([0-9a-f]{6})\)", text))
    assert used >= {"1f2328", "ffffff", "0072b2", "d55e00"}
    for name in used:
        assert f"--c{name}: #{name};" in text
        assert f"--c{name}: {DARK['#' + name]};" in text


@pytest.mark.filterwarnings("error")
def test_a_hostile_run_folder_is_shown_and_does_nothing(tmp_path: Path) -> None:
    owned = {"widths": {HOSTILE: [4, 6]}, "owners": {HOSTILE: [1, 2]}, "client_accuracy": [0.5, 0.7]}
    lines = [
        line(HOSTILE, 1, 0.5, **owned),
        line("local", 1, 0.4, client_accuracy=[0.1, 0.2]),
        FAULT | {HOSTILE: HOSTILE},
    ]
    folders = [
        run_folder(tmp_path / f"<b>{model[:9]}".replace("/", ""), lines, model=model, **{HOSTILE: [HOSTILE]})
        for model in (HOSTILE, "日本語")
    ]
    for folder in folders:
        amend(
            folder,
            data={"name": HOSTILE, "classes": [HOSTILE, "é"], "class_counts": [[1, 2], [3, 4]]},
            sources={"model": HOSTILE},
            versions={HOSTILE: HOSTILE},
            machine={"system": HOSTILE, "command": [HOSTILE]},
            started=HOSTILE,
            finished=HOSTILE,
            fedma=HOSTILE,
        )
    found = page(folders, tmp_path / "report")
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "b"})
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in found.text
    assert "49" not in found.text
    assert "\x00" not in found.text
    assert "\u202e" not in found.text
    for file in (tmp_path / "report" / "figures").glob("*.svg"):
        ElementTree.parse(file)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@given(method=texts, group=texts, names=st.lists(texts, min_size=2, max_size=2, unique=True))
@settings(deadline=None, max_examples=5, derandomize=True)
@pytest.mark.filterwarnings("error")
def test_any_words_make_a_page(
    tmp_path_factory: pytest.TempPathFactory, method: str, group: str, names: list[str]
) -> None:
    place = tmp_path_factory.mktemp("any")
    entry = line(method, 1, 0.5, widths={group: [2, 3]}, owners={group: [1, 2]}, client_accuracy=[0.1, 0.9])
    folder = amend(
        run_folder(place / "run", [entry], model=method),
        data={"classes": names, "class_counts": [[1, 0], [0, 4]]},
    )
    runs = [read(folder)]
    found = Page(html(runs, drawn(runs)))
    assert len(found.of("figure")) == 7
    assert {tag for tag, _ in found.tags} <= KNOWN


KNOWN = set(
    "html head meta title style body a header p h1 dl div dt dd nav ul li main section h2 h3 figure figcaption svg g "
    "path defs use text image clippath rect details summary table caption thead tbody tr th td tspan".split()
)


@pytest.mark.parametrize(("command", "told"), [(["run", "--seed", "1"], "fedma run --seed 1"), ([], "from Python")])
def test_how_a_run_was_begun_is_told(command: list[str], told: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [line("fedma", 1, 0.9)])
    amend(folder, machine={"command": command})
    assert told in page([folder], tmp_path / "report").text


def test_an_interrupted_run_is_shown_as_such(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", LINES[:1], finished=False)
    found = page([folder], tmp_path / "report")
    assert "run: has not finished." in found.text
    assert "not finished" in found.text
    assert [own for own in found.of("div") if own.get("role") == "note"]


def test_a_run_of_an_older_version_is_shown_without_what_it_lacks(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [line("fedavg", 1, 0.5, parameters=1000, widths={"fc": [5, 5]})])
    (folder / "run.json").write_text('{"settings": {"seed": 0}}')
    found = page([folder], tmp_path / "report")
    assert len(found.of("figure")) == 3
    assert "Where settings come from was not recorded." in found.text
    assert "No fault was recorded." in found.text
    assert "not recorded" in found.text


def test_a_figure_has_its_numbers_beside_it(folders: list[Path], tmp_path: Path) -> None:
    report(folders[:1], tmp_path)
    with (tmp_path / "figures" / "owners.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["group"], row["owners"], float(row["slots"])) for row in rows if row["group"] == "conv"] == [
        ("conv", "1", 2),
        ("conv", "2", 1),
        ("conv", "3", 3),
    ]
    with (tmp_path / "figures" / "accuracy_vs_rounds.csv").open(newline="") as file:
        assert {float(row["round"]) for row in csv.DictReader(file)} == {1, 2}


def test_a_large_federation_fits(tmp_path: Path) -> None:
    """Many clients and classes: no numbers in the cells, but a page of bearable size."""
    clients, classes = 200, 100
    entry = line(
        "fedma", 1, 0.5,
        widths={f"group{number}": [10, 12] for number in range(20)},
        owners={f"group{number}": [1] * clients for number in range(20)},
        client_accuracy=[0.5] * clients,
    )  # fmt: skip
    counts = [[client % 7] * classes for client in range(clients)]
    folder = amend(run_folder(tmp_path / "run", [entry]), data={"class_counts": counts})
    page([folder], tmp_path / "report")
    assert (tmp_path / "report" / "report.html").stat().st_size < 1_500_000


def test_accuracy_can_be_drawn_against_rounds(folders: list[Path], tmp_path: Path) -> None:
    plot([read(folders[0])], tmp_path / "a.svg", against="round")
    assert "rounds of communication<" in (tmp_path / "a.svg").read_text()
