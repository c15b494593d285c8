"""`fedma fuse`: one model out of several checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fedma.cli.preflight import check_figures, check_writable
from fedma.cli.text_table import show, table_lines
from fedma.errors import InputError
from fedma.matching.registry import DEFAULT, DEFAULT_MAX_GROWTH, MATCHERS

if TYPE_CHECKING:
    from torch import nn

    from fedma.data import Dataset
    from fedma.experiments.merge import Architecture
    from fedma.fusion import Fusion


@dataclass(frozen=True)
class Fuse:
    """Make one model out of several that were trained apart, without retraining.

    Attributes:
        files: safetensors files, any number; the models' widths may differ.
        model: the architecture: a network of fedma.models, or package.module:factory, a function without arguments
            that returns an nn.Module. Files that fedma wrote name their own.
        out: the file of the fused model. An existing file is not touched.
        data: score the models on the test split of this data (as for fedma run). Inputs are scaled by the training
            split's mean and standard deviation. Fusing itself needs no data.
        test_limit: use this many test samples at most.
        input_shape: shape of one input without the batch, if there are no data.
        classes: number of outputs, if there are no data. The default is 10.
        integers: inputs are whole numbers below this one (tokens), if there are no data.
        weights: the weight of each file in the averages, such as its number of training samples.
        matcher: how units are matched: the name of a matcher, or package.module:name, a matching of your own.
        grow: whether the fused model may be wider than the models.
        max_growth: the most that the fused model may grow, as a factor of the widest model's widths.
        recalibrate: estimate batch-norm statistics again, on 2000 training samples of the data.
        interpolate: for two models of equal widths: draw the loss on the line between them, before and after matching.
            This names the figure (.png, .svg or .pdf); a .csv file is written beside it.
        seed: the seed of the order in which models are visited.
    """

    files: Positional[tuple[Path, ...]]
    model: str | None = None
    out: Path = Path("fused.safetensors")
    data: str | None = None
    test_limit: int | None = None
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None
    integers: int | None = None
    weights: tuple[float, ...] | None = None
    matcher: Annotated[str, arg(metavar=f"{{{','.join(MATCHERS.names)}}}|MODULE:NAME")] = DEFAULT
    grow: bool = True
    max_growth: float = DEFAULT_MAX_GROWTH
    recalibrate: bool = False
    interpolate: Path | None = None
    seed: int = 0

    def run(self) -> None:
        """Read, fuse, write, tell what was matched, judge, draw."""
        self._check()
        from fedma.data import load
        from fedma.experiments import merge
        from fedma.fusion import fuse
        from fedma.norms import recalibrate

        data = load(self.data, seed=self.seed, test_limit=self.test_limit) if self.data else None
        architecture = self._architecture(data)
        models = merge.read_models(self.files, architecture)
        fusion = fuse(
            models,
            architecture.example(),
            weights=self.weights,
            matcher=self.matcher,
            grow=self.grow,
            max_growth=self.max_growth,
            seed=self.seed,
        )
        if data and self.recalibrate:
            recalibrate(fusion.model, data.train.inputs[:2000].split(100))
        merge.write_model(self.out, fusion.model, architecture)
        show([*_told(self.files, fusion), f"{self.out}"])
        if data:
            show(_judged(models, fusion, data))
        if data and self.interpolate:
            self._draw(models, data, self.interpolate)

    def _check(self) -> None:
        """Refuse what cannot be done before work starts."""
        if len(self.files) < 2:
            raise InputError("name two files or more: fedma fuse a.safetensors b.safetensors ...")
        if self.out.exists():
            raise InputError(f"{self.out} exists already; name another file with --out, or remove it")
        check_writable(self.out.parent)
        MATCHERS.get(self.matcher)
        if self.data is None and (self.interpolate or self.recalibrate or self.test_limit):
            raise InputError("--interpolate, --recalibrate and --test-limit need --data")
        if self.interpolate and self.interpolate.suffix not in (".png", ".svg", ".pdf"):
            raise InputError(f"--interpolate {self.interpolate}: a picture ends in .png, .svg or .pdf")
        if self.interpolate:
            self._check_line()
            check_writable(self.interpolate.parent, flag="--interpolate")
            check_figures()
        if self.weights is not None and len(self.weights) != len(self.files):
            raise InputError(f"--weights has {len(self.weights)} numbers for {len(self.files)} files")

    def _check_line(self) -> None:
        if len(self.files) != 2:
            raise InputError(f"--interpolate draws a line between two models; name two files, not {len(self.files)}")
        if not MATCHERS.get(self.matcher).assigns:
            raise InputError(
                f"--interpolate needs a matcher that moves whole units (not {self.matcher}); "
                "name another with --matcher"
            )

    def _architecture(self, data: "Dataset | None") -> "Architecture":
        """What was said, or the data tell, or the first file knows."""
        from fedma.experiments.merge import Architecture, header

        known = header(self.files[0])
        model = self.model or known.get("model")
        if model is None:
            raise InputError(f"{self.files[0]} does not say what it is weights of; give --model")
        if data is not None:
            return Architecture(model, data.input_shape, len(data.classes), data.vocabulary)
        shape = self.input_shape or known.get("input_shape")
        if not shape:
            raise InputError("the shape of an input is not known; give --input-shape (such as 3 32 32), or --data")
        return Architecture(
            model,
            tuple(shape),
            self.classes or known.get("classes", 10),
            self.integers if self.integers is not None else known.get("vocabulary"),
        )

    def _draw(self, models: "Sequence[nn.Module]", data: "Dataset", path: Path) -> None:
        from fedma.experiments.merge import barrier
        from fedma.report.interpolation_figure import draw_interpolation
        from fedma.report.tables import write_csv

        points = barrier(models, data, matcher=self.matcher, seed=self.seed)
        draw_interpolation(points, path)
        write_csv(points, path.with_suffix(".csv"))
        show([f"{path}", f"{path.with_suffix('.csv')}"])


def _told(files: Sequence[Path], fusion: "Fusion") -> list[str]:
    """The matching as lines: for each group the widths, and the number of slots by number of owners."""
    from fedma.experiments.merge import describe

    found = list(describe(fusion))
    if not found:
        return ["Units were not matched one to one."]
    rows = [["group", "units of each", "fused", *(f"owned by {owners + 1}" for owners in range(len(files)))]]
    for group, widths, fused, owned in found:
        each = str(widths[0]) if len(set(widths)) == 1 else " ".join(map(str, widths))
        rows.append([group, each, str(fused), *map(str, owned)])
    return table_lines(rows)


def _judged(models: "Sequence[nn.Module]", fusion: "Fusion", data: "Dataset") -> list[str]:
    """Test accuracies, as lines."""
    from fedma.experiments.merge import scores

    found = scores(models, fusion.model, data)
    rows = [["", "test accuracy", "loss"]]
    rows += [[name, f"{100 * score.accuracy:.2f} %", f"{score.loss:.3f}"] for name, score in found.items()]
    return table_lines(rows)
