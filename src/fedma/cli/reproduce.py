"""`fedma reproduce`: an experiment of the paper with one command."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fedma.cli.preflight import check_figures


@dataclass(frozen=True)
class Reproduce:
    """Run one of the paper's experiments. Its result file, tables and figure go into OUT/NAME/SCALE.

    Run it again to resume an interrupted experiment or to add seeds. Finished runs are not repeated.

    Attributes:
        name: mnist-lenet, cifar10-vgg9, shakespeare-lstm, cifar10-resnet20, data-efficiency, bias, local-epochs, growth
            or ablation.
        scale: "small" takes one or two hours on two cores. "medium" (cifar10-vgg9, shakespeare-lstm) takes half an hour
            on one GPU with --jobs 6. "paper" is the full setting and takes days on a GPU.
        seeds: the seeds of the runs. The default is the experiment's own.
        lines: run only these lines, named as in the table (--lines FedMA FedAvg). The default is all.
        data_folder: a folder that holds mnist, cifar10 and shakespeare. The default is the Hugging Face hub.
        out: the folder of all experiments.
        jobs: do this many runs at the same time, each in its own process. This helps on one GPU, or if runs have fewer
            clients than the processor has cores.
        workers: worker processes of each run. 0 takes one for each core or GPU, and none if there are several jobs.
        device: where to train: "auto" (the GPU if there is one), cpu, cuda or mps.
        quiet: show no progress.
    """

    name: Positional[str]
    scale: Literal["small", "medium", "paper"] = "small"
    seeds: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    data_folder: Path | None = None
    out: Path = Path("runs/reproduce")
    jobs: int = 1
    workers: int = 0
    device: str = "auto"
    quiet: bool = False

    def run(self) -> None:
        """Run the experiment, or what is left of it, then print its tables."""
        check_figures()
        from fedma.cli.progress import progress_callbacks
        from fedma.experiments.reproduce import reproduce

        with progress_callbacks(quiet=self.quiet) as callback:
            files = reproduce(
                self.name,
                callback,
                out=self.out,
                scale=self.scale,
                seeds=self.seeds,
                lines=self.lines,
                data_folder=self.data_folder,
                jobs=self.jobs,
                workers=self.workers,
                device=self.device,
            )
        tables = next(file for file in files if file.name == "table.md")
        sys.stdout.write(f"\n{tables.read_text(encoding='utf-8')}\n")
        sys.stdout.write("".join(f"{file}\n" for file in files))
