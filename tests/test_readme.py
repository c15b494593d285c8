"""What the README says is true: its example runs, its commands exist, its numbers have result files."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
DOCS = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_runs_and_says_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    exec(compile(example, "README.md", "exec"), {})
    printed = [float(number) for number in re.findall(r"\d\.\d+", capsys.readouterr().out)]
    plain, fused = printed
    assert fused > plain + 0.1


def test_every_make_target_named_exists() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([a-z-]+)", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_flag_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from fedma.cli import main

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    used = {flag for block in blocks("sh") for flag in re.findall(r"(--[a-z][a-z-]+)", block)}
    assert used
    assert used <= known


@pytest.mark.parametrize("page", [Path(__file__).parents[1] / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_table_is_what_the_result_files_give() -> None:
    from fedma.report import markdown, read, rows

    results = Path(__file__).parents[1] / "benchmarks" / "results" / "mnist-lenet" / "seed0"
    assert markdown(rows([read(results)])).strip() in README
