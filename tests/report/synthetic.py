"""Exported rows of a made-up study that follows a law exactly known: nothing here was measured."""

import json
import math

FORMATS = {"bf16": 16, "int8:b64": 8, "int6:b64": 6, "nf4:b64": 4, "nf3:b64": 3, "nf2:b64": 2}
OFFSET = {16: 0.0, 8: 0.0005, 6: 0.004, 4: 0.03, 3: 0.12, 2: 0.55}  # bits per byte lost to k bits
HIDDEN = {1: 64, 2: 64, 3: 96, 4: 128, 5: 160, 6: 192, 7: 224}
BODY = {1: 55e3, 2: 98e3, 3: 210e3, 4: 400e3, 5: 0.9e6, 6: 1.5e6, 7: 2.5e6}
BASELINES = {"uniform": 8.0, "unigram": 4.71, "kneser-ney-6": 2.45}
LIMIT, SCALE, EXPONENT = 0.85, 190.0, 0.45
BYTES = 65_536


def gain_of(parameters: float, k: int) -> float:
    """The law the rows follow: limit - A parameters^-alpha - offset[k]."""
    return LIMIT - SCALE * parameters**-EXPONENT - OFFSET[k]


def synthetic_rows(*, text: str = "held-out", rungs: int = 7, failed: bool = True) -> list[dict]:
    """Every rung at every k, baselines first, then one failure with its reason."""
    rows = [
        _row(model=n, kind="coder", text=text, metric="bits_per_byte", ratio=v) for n, v in BASELINES.items()
    ]
    for rung in range(1, rungs + 1):
        embeddings = 2048 * HIDDEN[rung]
        parameters = int(BODY[rung]) + embeddings
        for name, k in FORMATS.items():
            body = int(BODY[rung] * (k + (0.25 if k < 16 else 0)))
            gain = gain_of(parameters, k)
            common = {
                "model": f"rung-{rung}", "kind": "model", "family": "rung", "format": name, "format_bits": k,
                "method": "nearest" if k < 16 else None, "text": text, "parameters": parameters,
                "parameters_body": int(BODY[rung]), "weights": parameters, "weights_body": int(BODY[rung]),
                "stored_bits": body + 16 * embeddings, "stored_bits_body": body,
                "body_bits_per_weight": body / BODY[rung], "context": 512, "stride": 256,
                "layers": 1 + rung // 2, "kv_heads": HIDDEN[rung] // 32, "head_dim": 32,
                "hidden_size": HIDDEN[rung], "intermediate_size": 3 * HIDDEN[rung], "vocab_size": 2048,
                "max_context": 512,
            }  # fmt: skip
            base = BASELINES["kneser-ney-6"]
            rows.append(
                _row(metric="bits_per_byte", ratio=base - gain, **common)
                | {"baseline": "kneser-ney-6", "baseline_bits_per_byte": base, "gain": gain}
                | {"gain_low": gain - 0.03, "gain_high": gain + 0.03, "gain_standard_error": 0.03 / 1.96}
            )
            if k < 16:
                rows.append(_row(metric="kl_bits_per_byte", ratio=OFFSET[k] * 1.1, **common))
                rows.append(_row(metric="top1_agreement", ratio=1 - OFFSET[k] / 2, **common))
    if failed:
        rows.append(
            _row(model="rung-8", kind="model", text=text, metric="bits_per_byte", ratio=None)
            | {
                "format": "nf4:b64",
                "format_bits": 4,
                "status": "failed",
                "reason": "weights of lm_head are NaN",
            }
        )
    return rows


def _row(*, metric: str, ratio: float | None, text: str, **columns) -> dict:
    ok = ratio is not None
    return {
        "family": None, "format": None, "format_bits": None, "method": None, "numerics": "bfloat16/cpu",
        **columns, "text": text, "metric": metric, "numerator": ratio * BYTES if ok else None,
        "denominator": float(BYTES) if ok else None, "value": ratio, "status": "ok" if ok else "failed",
        "reason": None, "bits": ratio * BYTES if ok and metric == "bits_per_byte" else None, "bytes": BYTES,
        "characters": BYTES, "tokens": 20_000, "bytes_lost": 0, "documents": 40, "baseline": None,
        "gain": None, "gain_low": None, "gain_high": None, "gain_standard_error": None, "wall_s": 2.5,
        "device": "cpu", "threads": 2, "versions": json.dumps({"kbit": "0.1.0", "torch": "2.13.0"}),
        "studies": "demo", "text_hash": "5f" * 32, "content": "ab" * 32, "algorithm": "{}",
        "created_at": "2026-03-01T12:00:00+00:00",
    }  # fmt: skip


def frontier_keys(rows: list[dict]) -> set[tuple[str, str]]:
    """(model, format) that no smaller choice matches in gain, by the plain definition."""
    gains = [r for r in rows if r["gain"] is not None]
    return {
        (r["model"], r["format"])
        for r in gains
        if not any(
            o is not r and o["stored_bits"] <= r["stored_bits"] and o["gain"] >= r["gain"]
            and (o["stored_bits"], -o["gain"]) != (r["stored_bits"], -r["gain"])
            for o in gains
        )
    }  # fmt: skip


assert math.isclose(gain_of(1e6, 16), LIMIT - SCALE * 1e6**-EXPONENT)
