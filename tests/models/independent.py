"""A reader and decoder of k-bit folders in NumPy, written from docs/models.md: it uses nothing of kbit."""

import json
import re
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.linalg import hadamard
from scipy.stats import norm

PARTS = {"codes", "scales", "offsets", "table", "second_scales", "second_offsets"}
PARTS |= {"signs", "order", "kept_columns", "kept_weights"}


def read_file(file: Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file; bfloat16 comes back as float32."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    kinds = {
        "U8": "u1",
        "I8": "i1",
        "U16": "<u2",
        "I32": "<i4",
        "F16": "<f2",
        "F32": "<f4",
        "I64": "<i8",
        "BF16": "<u2",
    }
    for name, entry in header.items():
        start, end = (8 + length + o for o in entry["data_offsets"])
        array = np.frombuffer(data[start:end], dtype=kinds[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = array
    return tensors


def data_bytes(folder: Path) -> int:
    """Bytes of the safetensors files, less length field and header."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
        total += file.stat().st_size - 8 - length
    return total


def layers(config: dict) -> dict[str, dict]:
    """Layer name to its record, ranges expanded."""
    quantization = config["quantization_config"]
    found = {}
    for pattern, entry in quantization["layers"].items():
        record = {**quantization["defaults"], **entry}
        match = re.search(r"\{(.*?)\}", pattern)
        if match is None:
            found[pattern] = record
            continue
        for run in match[1].split(","):
            ends = [int(n) for n in run.split("-")]
            for index in range(ends[0], ends[-1] + 1):
                found[pattern.replace(match[0], str(index))] = record
    return found


def table(datatype: str) -> np.ndarray:
    """The values codes index, from the definition of each type."""
    kind, k = re.fullmatch(r"([a-z]+)(\d+).*", datatype).groups()
    if kind == "int":
        k = int(k)
        return np.array([-1, 1]) if k == 1 else np.arange(1 - 2 ** (k - 1), 2 ** (k - 1))
    if kind == "uint":
        return np.arange(2 ** int(k))
    if kind == "nf":
        return _normal_float(int(k))
    if kind == "dyn":
        return _dynamic(int(k))
    if kind == "tcq":
        return _trellis()
    exponents, mantissas = (int(n) for n in re.fullmatch(r"e(\d)m(\d)", datatype).groups())
    # Every sign, exponent field and mantissa; the bias makes the greatest value lie in [1, 2).
    values = {
        sign
        * (
            Fraction(m, 2**mantissas) * Fraction(2) ** (2 - 2**exponents)
            if e == 0
            else (1 + Fraction(m, 2**mantissas)) * Fraction(2) ** (e + 1 - 2**exponents)
        )
        for sign in (-1, 1)
        for e in range(2**exponents)
        for m in range(2**mantissas)
    }
    return np.array([float(v) for v in sorted(values)])


def _normal_float(k: int) -> np.ndarray:
    # QLoRA, appendix E: 2^(k-1) positive quantiles, 2^(k-1)-1 negative ones, and zero.
    offset = 1 - (1 / 2 ** (k + 1) + 1 / (2 ** (k + 1) - 2)) / 2
    positive = norm.ppf(np.linspace(offset, 0.5, 2 ** (k - 1) + 1))[:-1]
    negative = -norm.ppf(np.linspace(offset, 0.5, 2 ** (k - 1)))[:-1]
    values = np.sort(np.concatenate([positive, [0], negative]))
    values = (values / values.max()).astype(np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32)).view(np.float32)


def _trellis() -> np.ndarray:
    # Gaussian quantiles; entry s is number p(s), where p mixes the 12 bits of s.
    quantiles = norm.ppf((np.arange(4096) + 0.5) / 4096).astype(np.float32)
    entries = []
    for s in range(4096):
        h = s
        for _ in range(3):
            h = (2533 * h + 967) % 4096
            h = h ^ (h >> 6)
        entries.append(quantiles[1747 * h % 4096])
    bits = np.array(entries, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32)).view(np.float32)


def _dynamic(k: int) -> np.ndarray:
    # bitsandbytes' create_dynamic_map: indicator bit, base 10, linear fraction.
    positive = [
        10.0 ** (i - (k - 2)) * (0.1 + 0.9 * (j + 0.5) / 2**i) for i in range(k - 1) for j in range(2**i)
    ]
    values = np.sort(np.array([0.0, 1.0, *positive, *(-v for v in positive)])).astype(np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32)).view(np.float32)


def rotation(signs: np.ndarray, n: int) -> np.ndarray:
    """The matrix R of rotated inputs, [n, n]: Hadamard for the power of two, Hartley for the odd part."""
    odd = n
    while odd % 2 == 0:
        odd //= 2
    angle = 2 * np.pi * np.outer(np.arange(odd), np.arange(odd)) / odd
    mixed = np.kron(hadamard(n // odd), np.cos(angle) + np.sin(angle)) / n**0.5
    flips = 1 - 2.0 * np.unpackbits(signs, bitorder="little")[:n]
    return mixed * flips


def decode(record: dict, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The weight [rows, columns] of one layer, in float32."""
    datatype, *options = record["format"].split(":")
    rows, columns = record["shape"]
    columns -= record.get("kept_inputs", 0)
    k = int(re.search(r"\d+", datatype)[0]) if datatype[0] != "e" else 1 + sum(map(int, datatype[1::2]))
    # Code i of a row is bits k*i to k*i+k-1 of the row's little-endian bit stream.
    stream = np.unpackbits(tensors[f"{name}.codes"], axis=1, bitorder="little")
    bits = stream[:, : columns * k].reshape(rows, columns, k).astype(np.int64)
    codes = (bits << np.arange(k)).sum(axis=2)
    block = options[0] if options else "b64"
    at = np.arange(rows * columns).reshape(rows, columns)
    owner = record.get("table_of", name)
    entries = tensors[f"{owner}.table"] if f"{owner}.table" in tensors else table(datatype)
    places = codes
    if datatype.startswith("tcq"):
        # The last 12 bits of the column's ring of codes: its own lowest, then those of the rows above.
        places = sum(np.roll(codes, above, axis=0) << (k * above) for above in range(-(-12 // k))) % 4096
    values = entries.astype(np.float32)[places]
    for part in ("scales", "offsets"):
        if f"{name}.{part}" not in tensors:
            continue
        stored = tensors[f"{name}.{part}"].astype(np.float32)
        if "q8" in options:
            second = tensors[f"{name}.second_{part}"]
            stored = stored * second[np.arange(stored.size) // 256].reshape(stored.shape)
        if block == "tensor":
            spread = np.broadcast_to(stored.reshape(1, 1), (rows, columns))
        elif block == "row":
            spread = np.broadcast_to(stored, (rows, columns))
        elif block.startswith("flat"):
            spread = stored[at // int(block[4:])]
        else:
            spread = stored[:, np.arange(columns) // int(block[1:])]
        values = values * spread if part == "scales" else values + spread
    return place(values, record, tensors, name)


def place(values: np.ndarray, record: dict, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The weight over the layer's own inputs."""
    if record.get("activation_order"):
        order = tensors[f"{name}.order"].astype(int)
        values = values[:, np.argsort(order)]
    if "rotation" in record:
        values = (values @ rotation(tensors[f"{name}.signs"], values.shape[1])).astype(np.float32)
    if record.get("kept_inputs"):
        kept = tensors[f"{name}.kept_columns"].astype(int)
        whole = np.empty(record["shape"], dtype=np.float32)
        whole[:, np.setdiff1d(np.arange(whole.shape[1]), kept)] = values
        whole[:, kept] = tensors[f"{name}.kept_weights"]
        return whole
    return values


def decoded_state(folder: Path) -> dict[str, np.ndarray]:
    """A dense state dict: decoded weights under `<layer>.weight` (in the architecture's own orientation)."""
    config = json.loads((folder / "config.json").read_text())
    tensors = read_file(folder / "model.safetensors")
    state = {}
    records = layers(config)
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if layer not in records or part not in PARTS:
            state[name] = tensor
    for name, record in records.items():
        weight = decode(record, tensors, name)
        state[f"{name}.weight"] = weight.T if record.get("transposed") else weight
    return state
