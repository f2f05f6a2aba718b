"""Reports on finished runs as one self-contained HTML file.

Needs the packages of the extra `report` (Jinja2 and matplotlib) and never imports Jittor.
"""

from jseg.report.page import report_page, require_packages
from jseg.report.run import Run, read_run

__all__ = ["Run", "read_run", "report_page", "require_packages"]
