"""`kbit advise --flops X | --hours H`: what to train with a budget."""

from pathlib import Path
from typing import TYPE_CHECKING

from kbit.cli.output import emit
from kbit.cli.rows import saved_fit
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.advise.train import TrainAdvice, TrainChoice

CONSTANTS = "besiroglu-2024"
SHARE = 0.4


def advise_train(
    *,
    flops: float | None,
    hours: float | None,
    flops_per_s: float | None,
    share: float | None,
    inference_tokens: float | None,
    memory_gib: float | None,
    fit: Path | None,
    constants: str | None,
    bits: list[float] | None,
    picture: Path | None,
    json: bool,
) -> int:
    """Advise on parameters, tokens and k; see `kbit.advise.train`."""
    from kbit.advise.surface import published_surface, surface_of_fit
    from kbit.advise.train import KS, advise_training

    if fit is not None and constants is not None:
        raise UsageError("give the law either as --fit FILE or as --constants NAME, not both.")
    budget, notes = _budget(flops=flops, hours=hours, flops_per_s=flops_per_s, share=share)
    if fit is not None:
        surface = surface_of_fit(saved_fit(fit))
    else:
        surface = published_surface(constants or CONSTANTS)
        if constants is None:
            notes.append(
                f"No law was given, so the published constants {CONSTANTS} stand in: they are of other data."
            )
    if bits is not None and not surface.has_bits:
        raise UsageError(
            f"law {surface.name} does not know k: leave out --bits, or fit effective-parameters."
        )
    advice = advise_training(
        surface,
        flops=budget,
        inference_tokens=inference_tokens or 0.0,
        memory_gib=memory_gib,
        bits=bits or KS,
        notes=notes,
    )
    if picture is not None:
        from kbit.report.train_picture import save_train_picture

        save_train_picture(advice, out=picture)
    return emit(advice.to_dict(), json=json, text=lambda console: _show(advice, console))


def _budget(
    *, flops: float | None, hours: float | None, flops_per_s: float | None, share: float | None
) -> tuple[float, list[str]]:
    """Floating-point operations, and how they were counted."""
    if flops is not None:
        if hours is not None or flops_per_s is not None or share is not None:
            raise UsageError(
                "give the budget either as --flops, or as --hours with --flops-per-s and --share."
            )
        return flops, []
    part = SHARE if share is None else share
    for name, value in (("--hours", hours), ("--flops-per-s", flops_per_s), ("--share", part)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} must be positive and finite, got {value}.")
    if part > 1:
        raise UsageError(f"--share is a part of the machine's speed, at most 1; got {part}.")
    if flops_per_s is not None:
        said = f"{flops_per_s:.3g} operations a second, as given"
    else:
        import torch

        from kbit.training.peak import peak_flops_per_s

        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        flops_per_s = peak_flops_per_s(device, torch.get_num_threads())
        said = f"{flops_per_s:.3g} operations a second, measured here ({device}) on a bfloat16 product"
    return (hours or 0.0) * 3600.0 * flops_per_s * part, [
        f"{hours:g} hours at {said}, of which training reaches {part:.0%} (kbit pretrain prints its share)."
    ]


def _show(advice: "TrainAdvice", console: "Console") -> None:
    from rich.table import Table

    from kbit.advise.train import count

    console.print(
        f"what to train with {advice.flops:.3g} operations", style="bold", markup=False, highlight=False
    )
    for line in advice.reasons:
        console.print(line, markup=False, soft_wrap=True)
    if advice.by_bits:
        table = Table(title="at each k", box=None)
        for name in ("k", "parameters", "tokens", "loss", "95%"):
            table.add_column(name, justify="right")
        for c in advice.by_bits:
            best = "bold" if c.bits == advice.best.bits else None
            table.add_row(
                f"{c.bits:g}", count(c.params), count(c.tokens), f"{c.loss:.4f}", _ends(c), style=best
            )
        console.print(table)
    table = Table(title="cost against performance", box=None)
    for name in (
        "operations",
        "parameters",
        "95%",
        "tokens",
        *(["k"] * bool(advice.by_bits)),
        "loss",
        "95% ",
    ):
        table.add_column(name, justify="right")
    for c in advice.curve[::4]:
        params = "–" if c.params_ci95 is None else " to ".join(count(v) for v in c.params_ci95)
        k = [] if c.bits is None else [f"{c.bits:g}"]
        table.add_row(
            f"{c.flops:.3g}", count(c.params), params, count(c.tokens), *k, f"{c.loss:.4f}", _ends(c)
        )
    console.print(table)
    for line in advice.assumptions:
        console.print(f"- {line}", markup=False, soft_wrap=True)


def _ends(choice: "TrainChoice") -> str:
    return "–" if choice.loss_ci95 is None else f"{choice.loss_ci95[0]:.4f} to {choice.loss_ci95[1]:.4f}"
