"""The README's pictures of the report and of the terminal, from a real `fedma demo`; needs a Chromium browser.

`python docs/screenshots.py [FOLDER]`: the folder is for the run, and must not exist; by default one that is dropped.
"""

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
COLUMNS, ROWS = 116, 30
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1100,1560"
)
BAR = "━"


class Screen:
    """As much of a terminal as a progress line needs: returns, new lines, lines up and lines erased."""

    def __init__(self) -> None:
        self.lines, self.row = [""], 0
        self.working = ""

    def feed(self, text: str) -> None:
        """Show more; keep what was to be seen while the progress line was last there."""
        for part in re.split(r"(\r|\n|\x1b\[\d*[A-HJ-Kl]|\x1b\[\?\d+[hl])", text):
            if part == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif part.endswith("A") and part.startswith("\x1b"):
                self.row = max(0, self.row - int(part[2:-1] or 1))
            elif part == "\x1b[2K":
                self.lines[self.row] = ""
            elif part and not part.startswith(("\r", "\x1b[?")):
                self.lines[self.row] += part
        if BAR in self.lines[self.row]:
            self.working = "\n".join(self.lines)


def demonstrate(folder: Path) -> str:
    """Run the demonstration on a terminal; what was to be seen near its end."""
    screen = Screen()
    process, reader = pty.fork()
    if process == 0:
        os.environ |= {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
        command = "from fedma.cli import main; main()"
        os.execv(sys.executable, [sys.executable, "-c", command, "demo", "--out", str(folder)])
    rest = b""
    while chunk := _read(reader):
        # Whole lines and whole escape sequences only: the rest waits for the next chunk.
        whole, cut, rest = (rest + chunk).rpartition(b"\r")
        screen.feed((whole + cut).decode())
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise SystemExit("the demonstration failed; run fedma demo to see why")
    return screen.working


def picture_of(text: str, path: Path) -> None:
    """The terminal with this text as an SVG that names no font from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print("[bold]$[/] fedma demo")
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="fedma demo", unique_id="fedma")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


def photograph(page: Path, path: Path) -> None:
    """The top of a page, as the browser shows it."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        raise SystemExit("no Chromium browser is installed; set CHROMIUM to the path of one")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser, *FLAGS.split(), f"--user-data-dir={profile}", f"--screenshot={path}", page.resolve().as_uri()],
            check=True,
            capture_output=True,
        )


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(sys.argv[1]) if sys.argv[1:] else Path(place) / "demo"
        picture_of(demonstrate(folder), IMAGES / "terminal.svg")
        photograph(folder / "report.html", IMAGES / "report.png")


if __name__ == "__main__":
    main()
