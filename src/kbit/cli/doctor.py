"""`kbit doctor`: what runs here."""

import platform
import time
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbit.cli.output import JsonFlag, emit

if TYPE_CHECKING:
    from rich.console import Console

_FLAGS: tuple[str, ...] = (
    "sse4_2",
    "avx2",
    "bmi2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512dq",
)
_FLAGS += ("avx512vbmi", "avx512_vbmi2", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve")
_PACKAGES = ("kbit", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "sqlalchemy")
_OPTIONAL = ("accelerate", "lm_eval", "peft", "pyarrow", "ray", "triton")
_UNPACK_CODES = 1 << 22
_REPEATS = 8


def doctor(*, json: JsonFlag = False) -> int:
    """What runs here: processor, kernels, threads, memory, speeds, package versions.

    Takes a few seconds: read bandwidth and unpacking are measured, not looked up.
    """
    data = examine()
    return emit(data, json=json, text=lambda console: _draw(console, data))


def examine() -> dict[str, Any]:
    """Everything `kbit doctor` prints.

    Raises:
        UsageError: KBIT_KERNEL names a path that cannot run here.
    """
    import torch

    from kbit import _core
    from kbit.advise.bandwidth import read_bandwidth
    from kbit.errors import UsageError

    try:
        chosen = _core.path()
    except ValueError as error:
        raise UsageError(str(error)) from None
    threads = torch.get_num_threads()
    return {
        "processor": {"model": _cpu_model(), "architecture": platform.machine(), "flags": _cpu_flags()},
        "core": {"path": chosen, "available": _core.paths()},
        "threads": {"torch": threads, "core": threads},
        "memory": _memory(),
        "gpu": _gpu(),
        "read_gb_per_s": {str(n): read_bandwidth(n) for n in sorted({1, threads})},
        "unpack": _unpack_speeds(threads),
        "products": _products(threads),
        "kernels": _kernels(),
        "packages": {name: _version(name) for name in (*_PACKAGES, *_OPTIONAL)},
        "python": platform.python_version(),
    }


def _cpu_info(key: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), None)


def _cpu_model() -> str | None:
    return _cpu_info("model name") or platform.processor() or None


def _cpu_flags() -> list[str] | None:
    """Of the instruction sets that matter here, those the processor has; None where it does not say."""
    present = _cpu_info("flags") or _cpu_info("Features")
    return None if present is None else [flag for flag in _FLAGS if flag in present.split()]


def _memory() -> dict[str, float | None]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"total_gib": None, "available_gib": None}
    kib = {line.split(":")[0]: float(line.split()[1]) for line in lines}
    return {
        "total_gib": _gib(kib.get("MemTotal")),
        "available_gib": _gib(kib.get("MemAvailable")),
    }


def _gib(kib: float | None) -> float | None:
    return None if kib is None else round(kib / 2**20, 2)


def _gpu() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"present": False, "name": None, "memory_gib": None}
    properties = torch.cuda.get_device_properties(0)
    return {"present": True, "name": properties.name, "memory_gib": properties.total_memory / 2**30}


def _unpack_speeds(threads: int) -> list[dict[str, Any]]:
    """Billion codes a second for each k, and the packed bytes that is."""
    import torch

    from kbit import _core
    from kbit.formats import row_bytes

    rows, cols = _UNPACK_CODES // 4096, 4096
    out = torch.empty(rows, cols, dtype=torch.uint8)
    speeds = []
    for bits in range(1, 9):
        packed = torch.randint(0, 256, (rows, row_bytes(cols, bits)), dtype=torch.uint8)
        wall_s = _median_seconds(lambda p=packed, k=bits: _core.unpack(p, k, out, threads=threads))
        speeds.append(
            {
                "bits": bits,
                "codes_g_per_s": rows * cols / wall_s / 1e9,
                "packed_gb_per_s": packed.numel() / wall_s / 1e9,
            }
        )
    return speeds


def _median_seconds(call: Any) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[2]


def _kernels() -> list[dict[str, Any]]:
    """Which kernel multiplies each data type at blocks of 64, by activations and their number of rows."""
    import torch

    from kbit.formats import DATATYPES, WeightFormat
    from kbit.kernels import kernel_for

    def names(fmt: WeightFormat, rows: int, numerics: str = "a16") -> dict[str, str]:
        return {
            short: kernel_for(fmt, dtype=dtype, rows=rows, numerics=numerics).name
            for short, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))
        }

    rows = []
    for fmt in (WeightFormat(datatype=row) for row in DATATYPES.values() if row.is_packed):
        rows.append(
            {
                "format": str(fmt),
                **names(fmt, 1),
                "many_rows": names(fmt, 512),
                # Trellis-coded types have no product with 8-bit activations.
                "a8": None if fmt.datatype.window else names(fmt, 1, "a8")["bf16"],
            }
        )
    return rows


def _products(threads: int) -> dict[str, Any]:
    """Billion weights a second of a product with one row from the second-level cache, and who does it."""
    import torch

    from kbit import _core
    from kbit.formats import encode, parse_format
    from kbit.formats.decoding import core_parts

    rows, cols = 256, 4096
    x = torch.randn(1, cols)
    y = torch.empty(rows)
    found: dict[str, Any] = {"rows": rows, "cols": cols, "block": 64, "inner": {}, "weights_g_per_s": []}
    for bits in range(1, 9):
        packed = encode(torch.randn(rows, cols), parse_format(f"int{bits}:b64"))
        weight = _core.Weight(**core_parts(packed), threads=threads)
        row: dict[str, Any] = {"bits": bits}
        for numerics in ("bf16", "f32", "a8"):
            given = x if numerics == "f32" else x.bfloat16()
            found["inner"][numerics] = weight.kernel(numerics)
            wall_s = _median_seconds(partial(_repeat, weight, given, y, numerics, threads))
            row[numerics] = _REPEATS * rows * cols / wall_s / 1e9
        found["weights_g_per_s"].append(row)
    return found


def _repeat(weight: Any, x: Any, y: Any, numerics: str, threads: int) -> None:
    for _ in range(_REPEATS):
        weight.multiply(x.data_ptr(), numerics != "f32", 1, x.shape[1], y.data_ptr(), numerics, threads)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _draw(console: "Console", data: dict[str, Any]) -> None:
    from rich.table import Table

    processor, core, memory = data["processor"], data["core"], data["memory"]
    lines = {
        "processor": f"{processor['model'] or 'unknown'} ({processor['architecture']})",
        "flags": "unknown"
        if processor["flags"] is None
        else " ".join(processor["flags"]) or "none that matter",
        "core": f"{core['path']} (available: {', '.join(core['available'])}; KBIT_KERNEL forces one)",
        "threads": f"{data['threads']['torch']}",
        "memory": f"{memory['available_gib']} of {memory['total_gib']} GiB free",
        "gpu": data["gpu"]["name"] or "none",
        "read": ", ".join(f"{gb:.1f} GB/s with {n} thread(s)" for n, gb in data["read_gb_per_s"].items()),
    }
    for name, line in lines.items():
        console.print(f"[bold]{name:10}[/] {line}", highlight=False)
    speeds = Table("k", "billion codes/s", "packed GB/s", title="unpacking")
    for row in data["unpack"]:
        speeds.add_row(str(row["bits"]), f"{row['codes_g_per_s']:.2f}", f"{row['packed_gb_per_s']:.2f}")
    console.print(speeds)
    inner = data["products"]["inner"]
    title = "products of one row, billion weights/s"
    products = Table("k", *(f"{name}: {inner[name]}" for name in inner), title=title)
    for row in data["products"]["weights_g_per_s"]:
        products.add_row(str(row["bits"]), *(f"{row[name]:.1f}" for name in inner))
    console.print(products)
    served: dict[tuple[str, ...], list[str]] = {}
    for row in data["kernels"]:
        many = row["many_rows"]
        key = (row["bf16"], row["fp32"], many["bf16"], many["fp32"], row["a8"])
        served.setdefault(key, []).append(row["format"].split(":")[0])
    kernels = Table("bf16", "fp32", "bf16, 512 rows", "fp32, 512 rows", "a8", "data types", title="kernels")
    for names, types in served.items():
        kernels.add_row(*names, " ".join(types))
    console.print(kernels)
    versions = ", ".join(f"{name} {version}" for name, version in data["packages"].items() if version)
    absent = ", ".join(name for name, version in data["packages"].items() if version is None)
    console.print(f"[bold]packages[/]   Python {data['python']}, {versions}", highlight=False)
    if absent:
        console.print(f"[bold]absent[/]     {absent}", highlight=False)
