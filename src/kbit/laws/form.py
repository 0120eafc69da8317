"""What a law's form is: one frozen row with its formula, parameters, inputs, direction and source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from kbit.errors import LawError, did_you_mean
from kbit.laws.dual import Array, Dual

Direction = Literal["rising", "falling"]
Formula = Callable[[Mapping[str, Dual], Mapping[str, Array], float], Dual]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter of a form.

    Attributes:
        name: as it stands in the formula and in `Fit.parameters`.
        unit: in words; "" where it is a pure number.
        low: smallest value a fit may take.
        high: largest value a fit may take.
        meaning: half a sentence.
        log: positive, and searched on a logarithmic scale.
        linear: the response is linear in it, so that starts need no guess of it (variable projection).
        grid: values to start from, for a parameter that is not linear.
    """

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    log: bool = False
    linear: bool = False
    grid: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One variable of a form.

    Attributes:
        role: how a table's column is matched to it.
        unit: in words.
        size: counts something that spans decades: a fit over less than one decade of it is refused.
        levels: its values are categories, each with an offset of its own.
    """

    role: str
    unit: str
    size: bool = True
    levels: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A parametric form. `FORMS` holds one for each law.

    Attributes:
        name: what `kbit fit --law` takes.
        title: a line for listings.
        formula: as text, for people.
        parameters: in the order of the formula.
        inputs: what it is a function of; the first one orders models by size.
        directions: which way the response may go as the first input grows.
        evaluate: the formula; takes parameters, inputs and +1 (falling) or -1 (rising).
        objective: "huber-log" (Huber on log residuals), "squares-log" or "squares"; used unless the caller
            chooses.
        response: what is fitted, in words, with its unit.
        citation: where the form comes from.
        recommended_models: with fewer models the fit warns that intervals are rough.
        coverage: share of simulated draws in which a 95% interval at that number of models held the truth,
            lowest and highest over the parameters (benchmarks/coverage.py); None: not simulated.
        bootstrap_from: number of models from which resampling them covers; below it, the profile likelihood.
        offset: template of the parameter that each level but the first of the `levels` input has.
    """

    name: str
    title: str
    formula: str
    parameters: tuple[Parameter, ...]
    inputs: tuple[Input, ...]
    directions: tuple[Direction, ...]
    evaluate: Formula | None
    objective: str
    response: str
    citation: str
    recommended_models: int = 8
    bootstrap_from: int = 8
    coverage: tuple[float, float] | None = None
    offset: Parameter | None = None
    constants: Mapping[str, float] = field(default_factory=dict)

    def holding(self, fixed: Mapping[str, float]) -> "Form":
        """The same form with some parameters held: ranges that are a point.

        Raises:
            LawError: no such parameter, or a value outside its range.
        """
        known = {p.name: p for p in self.parameters}
        for name, value in fixed.items():
            if name not in known:
                raise LawError(
                    f"law {self.name!r} has no parameter {name!r} to fix: {did_you_mean(name, known)}"
                )
            if not known[name].low <= value <= known[name].high:
                raise LawError(
                    f"{name} cannot be fixed at {value:g}: it lies between {known[name].low:g} and "
                    f"{known[name].high:g}."
                )
        return replace(
            self,
            parameters=tuple(
                replace(p, low=fixed[p.name], high=fixed[p.name], linear=False, grid=(fixed[p.name],))
                if p.name in fixed
                else p
                for p in self.parameters
            ),
        )

    @property
    def is_interpolation(self) -> bool:
        """Whether the form has no formula and goes through the points instead."""
        return self.evaluate is None

    @property
    def levels_input(self) -> Input | None:
        """The input whose values are categories, if there is one."""
        return next((i for i in self.inputs if i.levels), None)
