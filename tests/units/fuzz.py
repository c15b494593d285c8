"""Random programs, many of them: `python -m units.fuzz 0 50000`."""

import argparse
import json
import re
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from fedma.errors import GraphError
from fedma.seeds import generator
from fedma.units import units
from fedma.units.derive import derive
from fedma.units.inputs import Inputs
from units.judge import Judge
from units.programs import Forward, Writer, by_seed

STEPS, BATCH = 8, 100
FAILURES = ("wrong", "ungrown", "crashed")
"""Outcomes that no program may have; "ungrown" is a group marked as growable that is not."""
REGRESSIONS = Path(__file__).with_name("programs.jsonl")
"""Programs that failed once, cut short."""


def program(seed):
    choose = by_seed(seed)
    return Writer(choose).write(1 + choose(STEPS))


def traced(model, x):
    """What the recording alone says of a program, before anything is tried."""
    graph = derive(model, Inputs.of((x,)), front_end="record")
    return replace(graph, groups={name: replace(group, growable=False) for name, group in graph.groups.items()})


def found(model, x, *, verify=True, front_end="record"):
    """The graph of a program, by the way that is to be judged: verify is "traced" for nothing but the recording."""
    return traced(model, x) if verify == "traced" else units(model, x, front_end=front_end, verify=verify)


def tried(model, x, *, verify=True, front_end="record"):
    """What comes of a program: its outcome, a word more, and the graph."""
    others = torch.randn(x.shape, generator=generator(1, "input"), dtype=torch.float64)
    try:
        judge = Judge(model, [(x,), (others,)], seeds=(0,))
        if not judge.settled():
            return "unsettled", "", None
    except Exception as error:
        return "unfit", repr(error), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = found(model, x, verify=verify, front_end=front_end)
    except GraphError as error:
        return "refused", str(error), None
    except Exception as error:
        return "crashed", repr(error), None
    verdict = judge.verdict(graph)
    if verdict:
        return ("right" if graph.groups else "none"), "", graph
    permuted = any(why.startswith("permuted") for why in verdict.wrong.values())
    return "wrong" if permuted else "ungrown", json.dumps(dict(verdict.wrong)), graph


def cut(model, x, outcome, *, verify):
    """The shortest program that fails alike, by leaving lines out, and outputs."""
    best = model
    tensors = dict(model.named_parameters()), dict(model.named_buffers())
    changed = True
    while changed:
        changed = False
        for text in shorter(best.text):
            try:
                other = Forward(
                    text, *({n: t.detach() for n, t in some.items() if f"s.{n}" in text} for some in tensors)
                )
                if any(f"s.{n}" in text for n in tensors[0]) and tried(other, x, verify=verify)[0] == outcome:
                    best, changed = other, True
                    break
            except Exception:
                continue
    return best


def shorter(text):
    """The text without one of its lines, or without one of its outputs."""
    *lines, end = text.splitlines()
    for k in reversed(range(len(lines))):
        yield "\n".join([*lines[:k], *lines[k + 1 :], end])
    ends = _apart(end.removeprefix("return "))
    for k in range(len(ends)) if len(ends) > 1 else ():
        yield "\n".join([*lines, f"return {', '.join(ends[:k] + ends[k + 1 :])},"])


def _apart(text):
    """What stands between the outermost commas."""
    parts, depth, last = [], 0, ""
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(last.strip())
            last = ""
        else:
            last += letter
    return [part for part in [*parts, last.strip()] if part]


def run(first, last, *, verify=True, skip=None, keep=True):
    """Tries the programs of these seeds; prints each failure cut short, keeps it, and gives the counts."""
    counts = Counter()
    for seed in range(first, last):
        model, x = program(seed)
        if skip and skip.search(model.text):
            continue
        outcome = tried(model, x, verify=verify)[0]
        counts[outcome] += 1
        if outcome in FAILURES:
            line = written(cut(model, x, outcome, verify=verify), x, seed, outcome)
            print(f"--- {line['seed']} {outcome} {line['x']} {line['shapes']}\n{line['text']}", flush=True)
            if keep and json.dumps(line) not in REGRESSIONS.read_text():
                with REGRESSIONS.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return counts


def written(model, x, seed, outcome):
    """A program as data: it outlives the generator that wrote it."""
    shapes = {name: list(tensor.shape) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    return {"seed": seed, "outcome": outcome, "x": list(x.shape), "shapes": shapes, "text": model.text}


def read(line):
    """The model and the input of a program that was written down."""
    random = generator(0, "program", line["text"])
    tensors = {name: torch.randn(shape, generator=random) * 0.7 for name, shape in line["shapes"].items()}
    own = [{name: tensor for name, tensor in tensors.items() if name.startswith(kind)} for kind in "pq"]
    return Forward(line["text"], *own), torch.randn(line["x"], generator=random)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="try what tracing alone finds")
    parser.add_argument(
        "--traced", dest="verify", action="store_const", const="traced", help="not even growth is tried"
    )
    parser.add_argument("--skip", type=re.compile, help="leave out programs with lines like this")
    parser.add_argument("--keep", action="store_true", help="let every test run try the failures")
    parser.add_argument("--resume", type=Path, help="a file that remembers how far it came")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts, start = Counter(), time.process_time()
    done = json.loads(given.resume.read_text()) if given.resume and given.resume.exists() else {"next": given.first}
    counts.update(done.get("counts", {}))
    for first in range(done["next"], given.last, BATCH):
        last = min(first + BATCH, given.last)
        counts += run(first, last, verify=given.verify, skip=given.skip, keep=given.keep)
        if given.resume:
            given.resume.write_text(json.dumps({"next": last, "counts": dict(counts)}))
    print(dict(counts), f"{time.process_time() - start:.1f} s", file=sys.stderr)
    return int(any(counts[kind] for kind in FAILURES))


if __name__ == "__main__":
    sys.exit(main())
