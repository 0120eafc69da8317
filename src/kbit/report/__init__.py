"""Pictures and the page."""

from kbit.report.fit_laws import FittedLaws, fit_laws
from kbit.report.page import write_report
from kbit.report.picture import save_picture

__all__ = ["FittedLaws", "fit_laws", "save_picture", "write_report"]
