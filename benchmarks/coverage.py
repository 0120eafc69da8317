"""Do 95% intervals hold the truth in 95% of draws? By law, number of models, and how the interval is made.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [LAW[:MODELS] …] [--draws 2000] [--resamples 100]

Each law of `coverage_cases.py` is the truth: responses are drawn around it, fitted from the truth and from
the starts of the grid, and intervals are made with the code that `fit` uses: the one that it chooses for so
many models, for all draws; the other (bootstrap by model, profile likelihood) for the first `--peer` draws.
Beside them, for as many: SciPy's `curve_fit`, started at the truth, with estimate ± t·standard error.

Prints a JSON object a cell: the share of draws whose interval holds the truth, by parameter, and the median
bias in search coordinates (for a positive parameter: relative) over the standard deviation of the estimates.
"""

import argparse
import json
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
from coverage_cases import CASES, bind, draw
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import t as student

from kbit.laws.fit import choose_interval
from kbit.laws.forms import FORMS
from kbit.laws.intervals import draw_weights, percentiles
from kbit.laws.loss import Loss
from kbit.laws.multistart import distinct, minimise_each
from kbit.laws.noise import noise_of
from kbit.laws.optimise import Problem, minimise
from kbit.laws.profile import limits, profile
from kbit.laws.starts import grid_starts

BLOCK = 25  # draws whose resamples are one batch


def bootstrap_ends(problem, theta, labels, resamples, seed):
    """Percentile intervals, [draws, parameters, 2]."""
    parts = []
    for at in range(0, theta.shape[0], BLOCK):
        block = slice(at, min(at + BLOCK, theta.shape[0]))
        size = block.stop - block.start
        weights = draw_weights(problem, labels, resamples=size * resamples, seed=seed + at)
        batch = replace(
            problem, response=np.repeat(problem.response[block], resamples, axis=0), weights=weights
        )
        found = minimise(batch, np.repeat(theta[block], resamples, axis=0)).theta
        parts.append(percentiles(found.reshape(size, resamples, -1), axis=1))
    return np.concatenate(parts)


def profile_ends(problem, theta, objective, labels):
    """Profile-likelihood intervals, [draws, parameters, 2]."""
    parts = []
    for at in range(0, theta.shape[0], BLOCK):
        block = slice(at, at + BLOCK)
        noises = [
            noise_of(replace(problem, response=response), best, labels, known_errors=False)
            for response, best in zip(problem.response[block], theta[block], strict=True)
        ]
        limit = np.stack([limits(n.degrees, n.threshold) for n in noises])
        some = replace(problem, response=problem.response[block])
        parts.append(profile(some, theta[block], objective[block], limit))
    return np.concatenate(parts)


def curve_fit_ends(problem, truth):
    """Estimate ± t·standard error of SciPy's curve_fit, in the formula's parameters; NaN where it fails."""
    model, rows = problem.model, problem.rows
    start = model.natural(truth)
    quantile = student.ppf(0.975, rows - truth.size)
    is_log = problem.loss.is_log

    def curve(_, *values):
        heights = model.values(model.search(np.array([values])), problem.columns)[0]
        return np.log(heights) if is_log else heights

    ends = np.full((problem.response.shape[0], truth.size, 2), np.nan)
    for i, response in enumerate(problem.response):
        measured = np.log(response) if is_log else response
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", OptimizeWarning)
                values, covariance = curve_fit(curve, np.arange(rows), measured, p0=start, maxfev=2000)
        except (RuntimeError, ValueError):
            continue
        width = quantile * np.sqrt(np.diag(covariance))
        ends[i] = np.stack([values - width, values + width], axis=1)
    return ends


def share_inside(ends, truth):
    """Share of draws whose interval holds the truth, by parameter."""
    return ((ends[:, :, 0] <= truth) & (truth <= ends[:, :, 1])).mean(axis=0)


def cell(name, models, draws, resamples, peer, seed):
    """One law at one number of models."""
    case, form = CASES[name], FORMS[name]
    rng = np.random.default_rng(seed)
    model, columns, truth = bind(name, case.inputs(models))
    curve = model.values(truth[None], columns)[0]
    response = draw(case, curve, models, rng, draws)
    labels = np.repeat([f"{i:04d}" for i in range(models)], case.rows_of_a_model)
    problem = Problem(
        model=model,
        columns=columns,
        response=response,
        weights=np.ones(curve.size),
        loss=Loss(name=form.objective),
    )
    first = replace(problem, response=response[0])
    starts = np.vstack([truth[None], distinct(minimise(first, grid_starts(first, count=12)))])
    clock = time.process_time()
    found = minimise_each(problem, starts)
    chosen = choose_interval(form, models)
    few = replace(problem, response=response[:peer])
    ends = {}
    for way in ("bootstrap", "profile"):
        some, count = (problem, draws) if way == chosen else (few, peer)
        theta, objective = found.theta[:count], found.objective[:count]
        if way == "bootstrap":
            ends[way] = bootstrap_ends(some, theta, labels, resamples, seed)
        else:
            ends[way] = profile_ends(some, theta, objective, labels)
    theirs = curve_fit_ends(few, truth)
    natural = model.natural(truth)
    spread = found.theta.std(axis=0)
    answer = {
        "law": name,
        "models": models,
        "rows": int(curve.size),
        "draws": draws,
        "resamples": resamples,
        "chosen": chosen,
        "coverage": {k: table(model, share_inside(e, truth)) for k, e in ends.items()},
        "curve_fit": {
            "draws": peer,
            "failed": float(np.isnan(theirs).any(axis=(1, 2)).mean()),
            "coverage": table(model, share_inside(theirs, natural)),
        },
        "bias": table(model, (np.median(found.theta, axis=0) - truth) / np.maximum(spread, 1e-300)),
        "cpu_s": round(time.process_time() - clock, 1),
    }
    inside = answer["coverage"][chosen].values()
    return answer | {"lowest": min(inside), "highest": max(inside)}


def table(model, values):
    return {name: round(float(v), 3) for name, v in zip(model.names, values, strict=True)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", nargs="*", help="LAW or LAW:MODELS; all by default")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--peer", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for given in options.cells or list(CASES):
        name, _, models = given.partition(":")
        for count in (int(models),) if models else CASES[name].models:
            found = cell(name, count, options.draws, options.resamples, options.peer, options.seed)
            print(json.dumps(found), flush=True)
            print(f"{name} {count}: {found['lowest']:.3f} to {found['highest']:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
