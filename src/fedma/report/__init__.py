"""Tables and figures from run folders: reads result files, and nothing else of the library but its errors."""

from fedma.report.figure import plot
from fedma.report.results import Evaluation, Run, read
from fedma.report.summary import rows
from fedma.report.tables import markdown, table, write_csv
from fedma.report.writing import report

__all__ = ["Evaluation", "Run", "markdown", "plot", "read", "report", "rows", "table", "write_csv"]
