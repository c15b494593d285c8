"""Running one process with its children, and what it takes: memory and processor time of them all."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
EVERY = 1.0
"""Seconds between looks at memory; a look takes some milliseconds of one core."""


def watched(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, limit: float) -> Iterator[dict[str, Any]]:
    """The lines of JSON that it prints, each with `at`, seconds since the start, and `cpu_s`, of all its processes.

    At last a line with `peak_mib`, the largest sum of their proportional shares of memory.
    """
    log = cwd / "stderr.txt"
    start = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **env}, cwd=cwd
        )
    memory = _Memory(process.pid)
    timer = threading.Timer(limit, _end, [process.pid])
    timer.start()
    try:
        for line in process.stdout or ():
            if line.startswith("{"):
                yield {**json.loads(line), "at": time.perf_counter() - start, "cpu_s": _seconds(process.pid)}
        if process.wait():
            said = "".join(log.read_text().splitlines(keepends=True)[-20:])
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}; its last words:\n{said}")
        yield {"peak_mib": memory.close()}
    finally:
        timer.cancel()
        memory.close()
        if process.poll() is None:
            _end(process.pid)
            process.wait()


class _Memory(threading.Thread):
    """Looks at a process and its children time and again."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(EVERY):
            self.peak = max(self.peak, sum(map(_proportional, _tree(self.pid))))

    def close(self) -> int:
        """The peak in MiB."""
        self.over.set()
        self.join()
        return self.peak // 1024


def _tree(root: int) -> list[int]:
    """It, its children, theirs and so on."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the name; none if it is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _seconds(root: int) -> float:
    """Processor time of the tree, its dead included."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in _tree(root)) / TICK


def _proportional(pid: int) -> int:
    """KiB of memory, shared pages divided among those that share them."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _end(root: int) -> None:
    """It and all its children, some of which are in sessions of their own."""
    for pid in _tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
