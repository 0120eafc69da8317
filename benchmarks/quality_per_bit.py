"""Divergence from the 16-bit model against stored bits: kbit and its peers on one yardstick.

    python benchmarks/quality_per_bit.py MODEL --text HELD_OUT… --calibrate TRAIN… --csv FILE
        [--llama-quantize PROGRAM] [--picture FILE] [--tokens 30000] [--of-each 512] [--only TEXT…]

Every contestant codes the linear layers of the body; embedding, output layer and norms stay in 16 bits. What
it decodes to is put into one Transformers model that computes in float32, and that model's predictions on
held-out text are compared with those of the 16-bit model. Stored bits are those of the tensors a contestant
keeps, over the body's weights (norms among them) and over all weights. Intervals resample documents; a ratio
of two contestants' divergences resamples them in pairs.

Rows that the CSV has already are not measured again. Peers that are not installed, or refuse, are rows with a
reason. Nothing is timed. Needs: altair and vl-convert for the picture; of the peers gguf, hqq, bitsandbytes,
optimum-quanto and torchao, as far as they are wanted.
"""

import argparse
import csv
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality_eval import CONTEXT, Sums, Yardstick
from quality_kbit import contestants as kbit_contestants
from quality_peers import Given, Made
from quality_peers import contestants as peer_contestants
from quality_report import draw, told

from kbit.corpus import read_documents
from kbit.information.estimate import paired_bootstrap
from kbit.models.content import content_hash
from kbit.quantize import Calibration, calibration_for

FIELDS = (
    "identity", "peer", "name", "data", "status", "reason", "body_bits_per_weight", "whole_bits_per_weight",
    "bits_per_byte", "bits_per_byte_low", "bits_per_byte_high", "loss_bits_per_byte", "loss_low", "loss_high",
    "kl_bits_per_token", "kl_low", "kl_high", "tokens", "documents_kl_bits",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--calibrate", type=Path, nargs="+", required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--llama-quantize", type=Path)
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--of-each", type=int, default=512, help="tokens of a document at most")
    parser.add_argument("--calibration-tokens", type=int, default=32_768)
    parser.add_argument("--only", nargs="*", help="contestants whose `peer name data` holds one of these")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    documents = list(read_documents(options.text))
    # Spread over the text: pieces of one book follow one another.
    order = np.random.default_rng(0).permutation(len(documents))
    yard = Yardstick(options.model, [documents[i] for i in order], options.tokens, options.of_each)
    calibration = calibration_for(
        str(options.model), list(read_documents(options.calibrate)), context=CONTEXT, seed=0,
        tokens=options.calibration_tokens,
    )  # fmt: skip
    texts = hashlib.sha256("\0".join(d.text for d in yard.documents).encode()).hexdigest()
    identity = hashlib.sha256(
        json.dumps(
            [content_hash(options.model), texts, calibration.hash, yard.tokens, options.of_each]
        ).encode()
    ).hexdigest()[:12]
    rows = _known(options.csv, identity)
    done = {(r["peer"], r["name"], r["data"]) for r in rows}
    given = Given(
        weights=yard.original,
        squares=cache(lambda: input_squares(yard, calibration)),
        folder=options.model,
        llama_quantize=options.llama_quantize,
    )
    if ("reference", "16 bits", "free") not in done:
        _add(rows, options.csv, _row(identity, yard, "reference", "16 bits", "free", yard.sums, 16.0, 16.0))
    for peer, name, data, make in _all(given, yard, calibration):
        label = f"{peer} {name} {data}"
        if (peer, name, data) in done or (options.only and not any(o in label for o in options.only)):
            continue
        try:
            made = make()
        except ImportError as error:
            made = Made(reason=f"not installed: {error.name}")
        except Exception as error:  # a peer may fail in its own way, and the others go on
            made = Made(reason=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        if made.weights is None:
            row = dict.fromkeys(FIELDS, "") | {
                "identity": identity, "peer": peer, "name": name, "data": data, "status": "none",
                "reason": made.reason,
            }  # fmt: skip
        else:
            body, whole = _rates(yard, made.bits)
            row = _row(identity, yard, peer, name, data, yard.measure(made.weights), body, whole)
        _add(rows, options.csv, row)
        print(f"{label:44} {_short(row)}", flush=True)
    print(told(rows))
    if options.picture:
        draw(rows, options.picture)


def _all(given: Given, yard: Yardstick, calibration: Calibration) -> Iterator[tuple[str, str, str, Any]]:
    for mine in kbit_contestants(given, yard, calibration):
        yield mine.peer, mine.name, mine.data, mine.make
    for peer in peer_contestants():
        data = "calibrated" if peer.calibrated else "free"
        yield peer.peer, peer.name, data, lambda p=peer: p.make(given)


def input_squares(yard: Yardstick, calibration: Calibration) -> dict[str, torch.Tensor]:
    """Mean square of each input of each linear layer on the calibration text, in the 16-bit model."""
    sums: dict[str, torch.Tensor] = {}
    tokens = 0

    def add(name: str) -> Any:
        def hook(_module: Any, args: Any) -> None:
            found = args[0].reshape(-1, args[0].shape[-1]).double().square().sum(dim=0)
            sums[name] = sums[name] + found if name in sums else found

        return hook

    handles = [m.register_forward_pre_hook(add(n)) for n, m in yard.linears().items()]
    with torch.inference_mode():
        for window in calibration.windows:
            yard.model.base_model(window[None], use_cache=False)
            tokens += len(window)
    for handle in handles:
        handle.remove()
    return {name: value / tokens for name, value in sums.items()}


def _rates(yard: Yardstick, bits: int) -> tuple[float, float]:
    """Bits a weight of body and whole: what is not coded has 16."""
    seen: set[int] = set()
    whole = embedding = 0
    tables = {id(yard.model.get_input_embeddings().weight), id(yard.model.get_output_embeddings().weight)}
    for parameter in yard.model.parameters():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            whole += parameter.numel()
            embedding += parameter.numel() if id(parameter) in tables else 0
    coded = sum(w.numel() for w in yard.original.values())
    body_bits = bits + 16 * (whole - embedding - coded)
    return body_bits / (whole - embedding), (body_bits + 16 * embedding) / whole


def _row(
    identity: str, yard: Yardstick, peer: str, name: str, data: str, sums: Sums, body: float, whole: float
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for key, low, top, bottom in (
        ("bits_per_byte", "bits_per_byte", sums.bits, sums.bytes),
        ("loss_bits_per_byte", "loss", sums.bits - yard.sums.bits, sums.bytes),
        ("kl_bits_per_token", "kl", sums.kl_bits, sums.tokens),
    ):
        found = paired_bootstrap(top, bottom)
        figures |= {key: found.value, f"{low}_low": found.low, f"{low}_high": found.high}
    return {
        "identity": identity, "peer": peer, "name": name, "data": data, "status": "ok", "reason": "",
        "body_bits_per_weight": body, "whole_bits_per_weight": whole, **figures,
        "tokens": int(sums.tokens.sum()), "documents_kl_bits": " ".join(f"{v:.6g}" for v in sums.kl_bits),
    }  # fmt: skip


def _known(file: Path, identity: str) -> list[dict[str, Any]]:
    """Rows of this model and these texts; others are not kept, for they cannot be compared."""
    if not file.exists():
        return []
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [r for r in rows if r["identity"] == identity]


def _add(rows: list[dict[str, Any]], file: Path, row: dict[str, Any]) -> None:
    rows.append(row)
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(file)


def _short(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return str(row["reason"])
    return (
        f"{row['body_bits_per_weight']:6.3f} bits  KL {row['kl_bits_per_token']:.5f} "
        f"[{row['kl_low']:.5f}, {row['kl_high']:.5f}]  +{row['loss_bits_per_byte']:.5f} bits/byte"
    )


if __name__ == "__main__":
    main()
