"""Tables and figures from run folders: reads result files, and nothing else of the library but its errors."""

from fedma.report.accuracy_figure import plot
from fedma.report.experiment import Drawing, Ends, LearningCurves, Measured, read_experiment
from fedma.report.experiment_figure import draw_experiment
from fedma.report.experiment_table import experiment_markdown, write_experiment_csv
from fedma.report.report_files import report
from fedma.report.results import Run, read
from fedma.report.summary import rows
from fedma.report.tables import markdown, table, write_csv
from fedma.result_line import ResultLine

__all__ = [
    "Drawing",
    "Ends",
    "LearningCurves",
    "Measured",
    "ResultLine",
    "Run",
    "draw_experiment",
    "experiment_markdown",
    "markdown",
    "plot",
    "read",
    "read_experiment",
    "report",
    "rows",
    "table",
    "write_csv",
    "write_experiment_csv",
]
