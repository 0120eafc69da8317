"""4,000 bootstraps of Chinchilla-240 from the same starts: kbit against SciPy's L-BFGS-B.

    OMP_NUM_THREADS=1 python benchmarks/laws.py DATA.csv [--resamples 4000] [--peer 40] [--starts 8]

One core, one run. Both get the same resamples (the weights that `fit` draws for Huber's loss), the same
starts, exact gradients and the objective scaled by 1/delta. Three ways to use the starts:

- shared: kbit's `fit`. All starts descend on the data as they are, descents that met are merged, and each
  resample goes on from every optimum that is left.
- each: every start descends for every resample, nothing shared. SciPy's way, and the check of the first:
  no resample's optimum may be lower than the shared one.
- warm: one start a resample, the optimum of all the data; what SciPy's user does who thinks of it.

SciPy fits `--peer` of the resamples, and its time is multiplied up; kbit's `each` likewise for `--each`.
Times are of the process's own CPU, with the wall time beside them. `bound_s` is how long the shared way would
take if nothing but the exponentials of its evaluations cost anything. `DATA.csv` has columns N, D, loss and
epoch_excluded.
"""

import argparse
import json
import time
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from kbit.laws.files import read_table
from kbit.laws.forms import FORMS
from kbit.laws.intervals import draw_weights
from kbit.laws.loss import Loss
from kbit.laws.model import Model
from kbit.laws.multistart import distinct, minimise_each
from kbit.laws.optimise import Problem, minimise
from kbit.laws.starts import grid_starts
from kbit.laws.table import where

DELTA = 1e-3


def peer_objective(theta, log_n, log_d, log_loss, weights):
    """The same objective and gradient, written out by hand for SciPy; theta as kbit searches it."""
    e, a, b, log_alpha, log_beta = theta
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    floor, by_size, by_data = np.exp(e), np.exp(a - alpha * log_n), np.exp(b - beta * log_d)
    total = floor + by_size + by_data
    r = np.log(total) - log_loss
    size = np.abs(r)
    value = np.where(size <= DELTA, 0.5 * r * r, DELTA * (size - 0.5 * DELTA))
    pull = weights * np.clip(r, -DELTA, DELTA) / total
    gradient = np.array(
        [
            pull.sum() * floor,
            pull @ by_size,
            pull @ by_data,
            -(pull * by_size) @ log_n * alpha,
            -(pull * by_data) @ log_d * beta,
        ]
    )
    return (weights @ value) / DELTA, gradient / DELTA


def timed(work):
    """What `work` returns, and its CPU and wall time in seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return found, {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def scaled(times, factor):
    return {name: value * factor for name, value in times.items()}


def peer_run(starts, data, weights):
    """SciPy's best objective for each row of weights, over the starts."""
    best = np.empty(weights.shape[0])
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-8}
    for i, row in enumerate(weights):
        best[i] = min(
            minimize(peer_objective, s, args=(*data, row), jac=True, method="L-BFGS-B", options=options).fun
            for s in starts
        )
    return best * DELTA


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--peer", type=int, default=40)
    parser.add_argument("--each", type=int, default=1000)
    options = parser.parse_args()

    table = where(read_table(options.data), {"epoch_excluded": 0})
    n, d, loss = (np.array(table[c], dtype=float) for c in ("N", "D", "loss"))
    form = FORMS["chinchilla"]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    problem = Problem(
        model=model,
        columns={"params": n, "tokens": d},
        response=loss,
        weights=np.ones_like(loss),
        loss=Loss(name="huber-log", delta=DELTA),
    )
    starts = grid_starts(problem, count=options.starts)
    runs = np.array([f"{i:03d}" for i in range(n.size)])
    weights = draw_weights(problem, runs, resamples=options.resamples, seed=0)
    batch = replace(problem, weights=weights)

    shared, shared_time = timed(lambda: minimise_each(batch, distinct(minimise(problem, starts))))
    some = replace(problem, weights=weights[: options.each])
    each, each_time = timed(lambda: minimise_each(some, starts))
    data = (np.log(n), np.log(d), np.log(loss))
    few = weights[: options.peer]
    theirs, peer_time = timed(lambda: peer_run(starts, data, few))
    best = minimise(problem, starts)
    optimum = best.theta[np.argmin(best.objective)]
    their_warm, warm_time = timed(lambda: peer_run([optimum], data, few))
    _, exp_time = timed(lambda: [np.exp(weights) for _ in range(10)])

    peer_time, warm_time = (scaled(t, options.resamples / options.peer) for t in (peer_time, warm_time))
    each_time = scaled(each_time, options.resamples / options.each)
    lowest = np.minimum(each.objective, shared.objective[: options.each])
    lowest[: options.peer] = np.minimum(lowest[: options.peer], np.minimum(theirs, their_warm))

    def worse(objective):
        return float(np.mean(objective > lowest[: objective.size] * (1 + 1e-6)))

    evaluations = shared.iterations.mean() + 2  # one more at the start and one where delta is lowered
    print(
        json.dumps(
            {
                "resamples": options.resamples,
                "starts": options.starts,
                "kbit_shared": shared_time,
                "kbit_each": each_time,
                "scipy_each": peer_time,
                "scipy_warm": warm_time,
                "ratio_shared": peer_time["cpu_s"] / shared_time["cpu_s"],
                "ratio_each": peer_time["cpu_s"] / each_time["cpu_s"],
                "ratio_warm": warm_time["cpu_s"] / shared_time["cpu_s"],
                "above_the_best": {
                    "kbit_shared": worse(shared.objective[: options.each]),
                    "kbit_each": worse(each.objective),
                    "scipy_each": worse(theirs),
                    "scipy_warm": worse(their_warm),
                },
                "largest_gradient": float(shared.gradient_norm.max()),
                "bound_s": exp_time["cpu_s"] / 10 * 2 * evaluations,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
