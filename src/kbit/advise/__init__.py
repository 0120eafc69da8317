"""Memory, frontier, advice: pure functions over rows; the store is joined to them by the command line."""

from kbit.advise.advice import Advice, Choice, advise
from kbit.advise.choose import Candidate, candidates
from kbit.advise.curves import Point
from kbit.advise.frontier import Frontier, frontier, pareto
from kbit.advise.memory import Memory, memory_of

__all__ = [
    "Advice",
    "Candidate",
    "Choice",
    "Frontier",
    "Memory",
    "Point",
    "advise",
    "candidates",
    "frontier",
    "memory_of",
    "pareto",
]
