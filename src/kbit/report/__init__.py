"""Pictures and the page."""

from kbit.report.compose import Composed, compose, one_study
from kbit.report.fit_laws import FittedLaws, fit_laws
from kbit.report.page import write_report
from kbit.report.picture import save_picture

__all__ = ["Composed", "FittedLaws", "compose", "fit_laws", "one_study", "save_picture", "write_report"]
