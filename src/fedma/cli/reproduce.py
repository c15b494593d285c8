"""`fedma reproduce`: an experiment of the paper with one command."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fedma.cli.preflight import check_figures


@dataclass(frozen=True)
class Reproduce:
    """Run one of the paper's experiments: its result file, tables and figure go into OUT/NAME/SCALE.

    Run it again to go on with one that was interrupted, or with more seeds; what is done is not done again.

    Attributes:
        name: mnist-lenet, cifar10-vgg9, shakespeare-lstm, cifar10-resnet20, data-efficiency, bias, local-epochs, growth
            or ablation.
        scale: small, which takes two cores an hour or two; medium (cifar10-vgg9, shakespeare-lstm), one GPU half an
            hour with --jobs 6; or paper, the full setting, for those with days of one.
        seeds: of the runs; by default the experiment's own.
        lines: which lines to run of these seeds, as the table calls them (--lines FedMA FedAvg); by default all.
        data_folder: where the data lie, in folders named mnist, cifar10, shakespeare; by default the Hugging Face hub.
        out: the folder of all experiments.
        jobs: how many runs to do side by side, each in a process of its own: on one GPU, or on two cores where most
            runs have fewer clients than keep both busy.
        workers: worker processes of each run; 0 for one for each core or GPU, or, of several jobs, for none.
        device: where to train: "auto" (the GPU if there is one), cpu, cuda, mps.
        quiet: no progress.
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
