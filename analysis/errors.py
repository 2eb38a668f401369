"""Errors of the analysis that a user can cause. Each says what is wrong, what was expected, and what to do."""


class AnalysisError(Exception):
    """Root of the analysis' errors."""


class SourceError(AnalysisError):
    """A source of runs that cannot be read: a missing file or column, text in a number column, a torn table."""


class ConventionError(AnalysisError):
    """Runs that count, evaluate or schedule differently and must not enter one fit unasked."""


class FitError(AnalysisError):
    """No usable fit exists: too few runs, one budget only, runs at one size."""


class LawError(AnalysisError):
    """An unknown law or form, or one that cannot answer what was asked of it."""
