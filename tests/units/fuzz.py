"""Random programs, many of them: `python -m units.fuzz 0 50000`."""

import argparse
import json
import re
import sys
import time
import warnings
from collections import Counter

import torch

from fedma.errors import GraphError
from fedma.seeds import generator
from fedma.units import units
from units.judge import Judge
from units.programs import Forward, Writer, by_seed

STEPS = 8


def program(seed):
    choose = by_seed(seed)
    return Writer(choose).write(1 + choose(STEPS))


def tried(model, x, *, verify=True):
    """What comes of a program: its outcome, a word more, and the graph."""
    others = torch.randn(x.shape, generator=generator(1, "input"), dtype=torch.float64)
    try:
        judge = Judge(model, [(x,), (others,)])
        if not judge.settled():
            return "unsettled", "", None
    except Exception as error:
        return "unfit", repr(error), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = units(model, x, verify=verify)
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
                other = Forward(text, *({n: t.detach() for n, t in some.items() if f"s.{n}" in text} for some in tensors))
                if any(f"s.{n}" in text for n in tensors[0]) and tried(other, x, verify=verify)[0] == outcome:
                    best, changed = other, True
                    break
            except Exception:
                continue
    return best


def shorter(text):
    *lines, end = text.splitlines()
    for k in reversed(range(len(lines))):
        yield "\n".join([*lines[:k], *lines[k + 1 :], end])
    ends = end.removeprefix("return ").removesuffix(",").split(", s.")  # only safe splits are tried; others fail to compile
    if len(ends) == 1:
        parts = _top(end.removeprefix("return "))
        for k in range(len(parts)) if len(parts) > 1 else ():
            yield "\n".join([*lines, f"return {', '.join(parts[:k] + parts[k + 1 :])},"])


def _top(text):
    parts, depth, last = [], 0, ""
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(last.strip())
            last = ""
        else:
            last += letter
    return [part for part in [*parts, last.strip()] if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--no-verify", dest="verify", action="store_false")
    parser.add_argument("--skip", type=re.compile, help="leave out programs with lines like this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts, start = Counter(), time.process_time()
    for seed in range(given.first, given.last):
        model, x = program(seed)
        if given.skip and given.skip.search(model.text):
            continue
        outcome, why, _ = tried(model, x, verify=given.verify)
        counts[outcome] += 1
        if outcome in ("wrong", "ungrown", "crashed"):
            small = cut(model, x, outcome, verify=given.verify)
            _, why, graph = tried(small, x, verify=given.verify)
            shapes = {n: tuple(p.shape) for n, p in small.named_parameters()}
            print(f"--- seed {seed} {outcome} x{tuple(x.shape)} {shapes}\n{small.text}\n# {why}", flush=True)
    print(dict(counts), f"{time.process_time() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
