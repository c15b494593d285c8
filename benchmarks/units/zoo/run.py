"""Unit graphs of public models: none wrong, and what they cost. One process a model; goes on where it stopped.

`make zoo`, or: python benchmarks/units/zoo/run.py [NAME ...] [--out FILE] [--limit SECONDS] [--table]
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "tests")]

RESULTS = HERE / "results.jsonl"
SMALLEST = 64
TARGETS = {"timm": 0.98, "transformers": 0.97}
"""Mean coverage that each collection should reach."""
SLOWEST = 15.0


def names():
    """Every model, as "collection/name"."""
    import language

    listed = (HERE / "timm.txt").read_text().split()
    return [f"timm/{name}" for name in listed] + [f"transformers/{name}" for name in language.NAMES] + others()


def others():
    import images

    return [f"other/{name}" for name in images.MODELS]


def prepare():
    """Imports what every model needs, so that the process of a model starts with it."""
    import images

    images.with_torchvision()
    import timm  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import units.judge  # noqa: F401

    torch.set_num_threads(1)


def settings():
    """The versions of everything that counts."""
    import diffusers
    import timm
    import torch
    import transformers

    import fedma

    modules = (fedma, torch, timm, transformers, diffusers)
    return {"python": platform.python_version()} | {m.__name__: m.__version__ for m in modules}


def built(name):
    """A model, and the arguments of its forward."""
    import images
    import language

    images.with_torchvision()
    collection, _, own = name.partition("/")
    if collection == "transformers":
        return language.build(own)
    return images.image_model(own) if collection == "timm" else images.MODELS[own]()


def measured(name, verify=True):
    """The line of one model: groups, coverage, seconds of one core, memory and what is wrong."""
    import torch

    from fedma.seeds import generator, global_generator
    from fedma.units import units
    from units.judge import Judge

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with global_generator(0):
        model, inputs = built(name)
    _shake(model.eval(), generator(0, "zoo", name))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    graph = units(model, inputs, verify=verify)
    seconds, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    verdict = Judge(model, [_arguments(inputs), _others(inputs, name)], tolerance=1e-5, seeds=(0,)).glance(graph)
    reasons = {}
    for (tensor, _), why in graph.fixed.items():
        reasons.setdefault(why[:100], tensor)
    return {
        "name": name,
        "outcome": "right" if verdict else "wrong",
        "wrong": dict(list(verdict.wrong.items())[:5]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "groups": len(graph.groups),
        "growable": sum(group.growable for group in graph.groups.values()),
        "coverage": round(graph.coverage, 4),
        "seconds": round(seconds, 2),
        "judged": round(time.process_time() - start, 2),
        "peak_mb": round(after / 1024),
        "added_mb": round((after - before) / 1024),
        "stuck": {group.name: group.reason for group in list(graph.groups.values()) if not group.growable},
        "reasons": reasons,
    }


def _shake(model, random):
    """Random numbers wherever a model starts with equal ones, so that every order shows."""
    import torch

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            saved = isinstance(tensor, torch.nn.Parameter) or name.endswith(("running_mean", "running_var"))
            if saved and tensor.is_floating_point() and tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=random).to(tensor))


def _arguments(inputs):
    return inputs if isinstance(inputs, dict | tuple) else (inputs,)


def _others(inputs, name):
    import torch
    from torch.utils import _pytree as pytree

    from fedma.seeds import generator

    random = generator(1, "zoo", name)
    return pytree.tree_map_only(
        torch.Tensor,
        lambda t: torch.randn(t.shape, generator=random).to(t) if t.is_floating_point() else t.flip(0),
        _arguments(inputs),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all models without")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one model")
    parser.add_argument("--no-verify", dest="verify", action="store_false")
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    given = parser.parse_args()
    if not given.table:
        collect(given)
    return table(lines_of(given.out))


def lines_of(path):
    """The lines of models in a result file, which starts with the versions."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if "name" in line]


def collect(given):
    """A line for every model that has none yet."""
    prepare()
    if not given.out.exists():
        given.out.write_text(json.dumps(settings()) + "\n")
    done = {line["name"] for line in lines_of(given.out)}
    wanted = [name for name in names() if not given.names or any(part in name for part in given.names)]
    for name in (name for name in wanted if name not in done):
        line = in_a_process(name, given)
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{line['outcome']:8} {name:50} {line.get('coverage', '')} {line.get('seconds', '')} s", flush=True)


def in_a_process(name, given):
    """What one model gives, in a process of its own; why it gives nothing, else."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_told, args=(there, name, given.verify))
    process.start()
    there.close()
    try:
        if not here.poll(given.limit):
            return {"name": name, "outcome": "slow", "why": f"more than {given.limit:.0f} s"}
        return here.recv()
    except EOFError:
        return {"name": name, "outcome": "failed", "why": "killed"}
    finally:
        process.kill()
        process.join()


def _told(there, name, verify):
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        try:
            line = measured(name, verify)
        except Exception as error:
            line = {"name": name, "outcome": "failed", "why": f"{type(error).__name__}: {error}"[:300]}
    there.send(line)


def table(lines):
    """Prints what was found, and gives the number of things that miss their target."""
    missed = 0
    for collection in dict.fromkeys(line["name"].partition("/")[0] for line in lines):
        own = [line for line in lines if line["name"].startswith(f"{collection}/")]
        good = [line for line in own if "coverage" in line]
        mean = sum(line["coverage"] for line in good) / max(len(good), 1)
        slowest = max(good, key=lambda line: line["seconds"], default={"seconds": 0.0, "name": ""})
        counts = {kind: sum(line["outcome"] == kind for line in own) for kind in ("right", "wrong", "failed", "slow")}
        print(
            f"{collection}: {len(own)} models, "
            + ", ".join(f"{n} {kind}" for kind, n in counts.items())
            + f"; mean coverage {mean:.4f}, slowest {slowest['seconds']:.1f} s ({slowest['name']}), "
            f"largest {max((line['peak_mb'] for line in good), default=0)} MB"
        )
        missed += counts["wrong"] + counts["failed"] + counts["slow"]
        missed += (mean < TARGETS.get(collection, 0.0)) + (slowest["seconds"] > SLOWEST)
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
