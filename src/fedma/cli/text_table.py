"""Tables on a terminal."""

import sys
from collections.abc import Sequence


def table_lines(rows: Sequence[Sequence[str]], *, words: int = 1) -> list[str]:
    """Rows as lines with aligned columns: the first `words` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([*map(str.ljust, row[:words], widths[:words]), *map(str.rjust, row[words:], widths[words:])]).rstrip()
        for row in rows
    ]


def show(lines: Sequence[str]) -> None:
    """Print them."""
    sys.stdout.write("\n".join(lines) + "\n")
