"""Every page of the documentation does what it says: its code and its commands run, in order, in an empty folder."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from fedma.cli import main

DOCS = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text; what must be fetched or typed elsewhere is in blocks of another language, `console`."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in DOCS if blocks(page)], ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    names = {"__name__": page.stem}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page.name, "exec"), names)
        else:
            for line in text.strip().splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "fedma", line
                main(arguments)


def test_commands_that_are_only_shown_have_flags_that_exist(capsys):
    shown = re.findall(r"^fedma (\w+)(.*)$", "\n".join(page.read_text() for page in DOCS), flags=re.MULTILINE)
    assert shown
    for command in {command for command, _ in shown}:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
        used = {flag for name, rest in shown if name == command for flag in re.findall(r"--[a-z][a-z-]+", rest)}
        assert used <= known, command
