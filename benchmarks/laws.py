"""4,000 bootstraps of Chinchilla-240: kbit's batched fit against SciPy's L-BFGS-B, from the same starts.

    OMP_NUM_THREADS=1 python benchmarks/laws.py DATA.csv [--resamples 4000] [--peer 40] [--starts 8]

One core, one run. Both get the same resamples, the same starts for each, exact gradients and the objective
scaled by 1/delta. SciPy fits `--peer` of the resamples, and its time is multiplied up. Times are of the
process's own CPU, so that other work on the machine does not count; the wall time is printed beside them.
`DATA.csv` has columns N, D, loss and epoch_excluded.
"""

import argparse
import json
import time

import numpy as np
from scipy.optimize import minimize

from kbit.laws.files import read_table
from kbit.laws.forms import FORMS
from kbit.laws.loss import Loss
from kbit.laws.model import Model
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--peer", type=int, default=40)
    options = parser.parse_args()

    table = where(read_table(options.data), {"epoch_excluded": 0})
    n, d, loss = (np.array(table[c], dtype=float) for c in ("N", "D", "loss"))
    form = FORMS["chinchilla"]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    huber = Loss(name="huber-log", delta=DELTA)
    columns = {"params": n, "tokens": d}
    problem = Problem(model=model, columns=columns, response=loss, weights=np.ones_like(loss), loss=huber)
    starts = grid_starts(problem, count=options.starts)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(n.size, np.full(n.size, 1 / n.size), size=options.resamples).astype(float)
    batch = Problem(model=model, columns=columns, response=loss, weights=weights, loss=huber)

    def kbit_run(theta, which):
        cpu, wall = time.process_time(), time.perf_counter()
        found = minimise(batch, theta, which=which)
        return found, time.process_time() - cpu, time.perf_counter() - wall

    # as `fit` does it: one start for each resample, the optimum of all the data
    first = minimise(problem, starts)
    best = first.theta[np.argmin(first.objective)]
    everyone = np.arange(options.resamples)
    warm, warm_cpu, warm_wall = kbit_run(np.repeat(best[None], options.resamples, axis=0), everyone)
    # the multistart of the peer: every start for every resample
    which = np.repeat(everyone, options.starts)
    full, full_cpu, full_wall = kbit_run(np.tile(starts, (options.resamples, 1)), which)
    lowest = full.objective.reshape(options.resamples, options.starts).min(axis=1)

    log_n, log_d, log_loss = np.log(n), np.log(d), np.log(loss)
    cpu, wall = time.process_time(), time.perf_counter()
    theirs = np.empty(options.peer)
    for i in range(options.peer):
        values = []
        for start in starts:
            found = minimize(
                peer_objective,
                start,
                args=(log_n, log_d, log_loss, weights[i]),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-8},
            )
            values.append(found.fun * DELTA)
        theirs[i] = min(values)
    scale = options.resamples / options.peer
    peer_cpu, peer_wall = (time.process_time() - cpu) * scale, (time.perf_counter() - wall) * scale

    def worse(objective, than):
        return float(np.mean(objective > than * (1 + 1e-6)))

    reached = np.minimum(np.minimum(warm.objective, lowest)[: options.peer], theirs)
    print(
        json.dumps(
            {
                "resamples": options.resamples,
                "starts": options.starts,
                "kbit_warm_cpu_s": warm_cpu,
                "kbit_warm_wall_s": warm_wall,
                "kbit_multistart_cpu_s": full_cpu,
                "kbit_multistart_wall_s": full_wall,
                "scipy_multistart_cpu_s": peer_cpu,
                "scipy_multistart_wall_s": peer_wall,
                "scipy_fitted": options.peer,
                "ratio_warm_cpu": peer_cpu / warm_cpu,
                "ratio_multistart_cpu": peer_cpu / full_cpu,
                "warm_above_multistart": worse(warm.objective, np.minimum(warm.objective, lowest)),
                "warm_above_best": worse(warm.objective[: options.peer], reached),
                "multistart_above_best": worse(lowest[: options.peer], reached),
                "scipy_above_best": worse(theirs, reached),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
