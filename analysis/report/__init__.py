"""The report on a sweep: one page that opens offline, its figures, and what the terminal says at the end of a run."""

from analysis.report.ending import ending_lines
from analysis.report.summary import Summary, summarize
from analysis.report.writing import Report, write_report

__all__ = ["Report", "Summary", "ending_lines", "summarize", "write_report"]
