"""A form bound to data: search coordinates, bounds, and predictions with their slopes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kbit.laws.dual import Array, Dual
from kbit.laws.form import Direction, Form, Parameter
from kbit.laws.table import Data


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A form with its offsets named and its direction chosen.

    Positive parameters are searched as logarithms; `natural` and `search` convert arrays [..., parameters].
    """

    form: Form
    parameters: tuple[Parameter, ...]
    sign: float

    @classmethod
    def of(cls, form: Form, data: Data, direction: Direction) -> "Model":
        """Name one offset for each level but the reference."""
        return cls.with_levels(form, data.levels, direction)

    @classmethod
    def with_levels(cls, form: Form, levels: Sequence[str], direction: str) -> "Model":
        """The same from the levels' names, the reference first."""
        offsets = (
            ()
            if form.offset is None
            else tuple(replace(form.offset, name=f"{form.offset.name}[{level}]") for level in levels[1:])
        )
        return cls(
            form=form, parameters=form.parameters + offsets, sign=-1.0 if direction == "rising" else 1.0
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(p.name for p in self.parameters)

    @property
    def is_log(self) -> NDArray[np.bool_]:
        """Which parameters are searched as logarithms."""
        return np.array([p.log for p in self.parameters])

    @property
    def is_free(self) -> NDArray[np.bool_]:
        """Which parameters are fitted, not held."""
        return np.array([p.low < p.high for p in self.parameters])

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest search coordinates."""
        low = [np.log(p.low) if p.log else p.low for p in self.parameters]
        high = [np.log(p.high) if p.log else p.high for p in self.parameters]
        return np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)

    def natural(self, theta: Array) -> Array:
        """Search coordinates to the parameters of the formula."""
        return np.where(self.is_log, np.exp(np.where(self.is_log, theta, 0.0)), theta)

    def search(self, values: Array) -> Array:
        """Parameters of the formula to search coordinates."""
        positive = np.where(self.is_log, np.maximum(values, 1e-300), 1.0)
        return np.where(self.is_log, np.log(positive), values)

    def predict(self, theta: Array, columns: Mapping[str, Array]) -> Dual:
        """Prediction [starts, rows] and slopes in search coordinates, for theta [starts, parameters]."""
        values = {}
        for i, parameter in enumerate(self.parameters):
            column = theta[:, i : i + 1]
            natural = np.exp(column) if parameter.log else column
            values[parameter.name] = Dual.parameter(natural, i, natural if parameter.log else 1.0)
        evaluate = self.form.evaluate
        if evaluate is None:
            raise TypeError(f"{self.form.name} has no formula")
        return evaluate(values, columns, self.sign)

    def values(self, theta: Array, columns: Mapping[str, Array]) -> Array:
        """Predictions alone, [starts, rows]."""
        rows = next(iter(columns.values())).shape[0]
        return np.broadcast_to(self.predict(theta, columns).value, (theta.shape[0], rows))
