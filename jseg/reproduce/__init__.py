"""The rows of the paper's tables: their configs, the steps to reproduce them, and the comparison.

Does not need Jittor. `jseg.cli.reproduce` runs the steps.
"""

from jseg.reproduce.comparison import Result, compare, deviations
from jseg.reproduce.plan import Step, origin, plan
from jseg.reproduce.rows import TABLES, Row, find_row, rows

__all__ = ["TABLES", "Result", "Row", "Step", "compare", "deviations", "find_row", "origin", "plan", "rows"]
