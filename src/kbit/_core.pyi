"""Types of the C++ core (csrc/)."""

from typing import Any

def paths() -> list[str]: ...
def path() -> str: ...
def pack(codes: Any, bits: int, out: Any, threads: int = 1, path: str = "") -> None: ...
def unpack(packed: Any, bits: int, out: Any, threads: int = 1, path: str = "") -> None: ...
def decode(
    codes: Any,
    *,
    bits: int,
    table: Any,
    scales: Any,
    offsets: Any | None = None,
    scale_type: str,
    scales_a_row: int,
    block: int,
    flat: bool,
    first: int = 0,
    numbers: Any | None = None,
    out: Any,
    threads: int = 1,
    path: str = "",
    second_scales: Any | None = None,
    second_offsets: Any | None = None,
) -> None: ...
def ranges(
    weights: Any,
    *,
    type: str,  # noqa: A002
    block: int,
    flat: bool,
    low: Any,
    high: Any,
    threads: int = 1,
    path: str = "",
) -> bool: ...
def encode(
    weights: Any,
    *,
    type: str,  # noqa: A002
    bits: int,
    boundaries: Any,
    scales: Any,
    offsets: Any | None = None,
    scales_a_row: int,
    block: int,
    flat: bool,
    out: Any,
    threads: int = 1,
    path: str = "",
) -> None: ...
def trellis_search(
    values: Any, weights: Any, *, bits: int, window: int, table: Any, codes: Any, threads: int = 1
) -> None: ...
def trellis_values(
    codes: Any,
    *,
    bits: int,
    window: int,
    table: Any,
    first: int = 0,
    numbers: Any | None = None,
    out: Any,
    threads: int = 1,
) -> None: ...

class Weight:
    def __init__(
        self,
        codes: Any,
        *,
        cols: int,
        bits: int,
        table: Any,
        scales: Any,
        offsets: Any | None = None,
        scale_type: str,
        scales_a_row: int,
        block: int,
        flat: bool,
        threads: int = 1,
        path: str = "",
        second_scales: Any | None = None,
        second_offsets: Any | None = None,
    ) -> None: ...
    def multiply(
        self, x: int, bfloat16: bool, n: int, stride: int, y: int, numerics: str, threads: int = 1
    ) -> None: ...
    def kernel(self, numerics: str, n: int = 1) -> str: ...
    def long_multiply(self, x: int, n: int, stride: int, bias: int, out: int, threads: int = 1) -> None: ...
    def long_multiply_a8(
        self, x: int, bfloat16: bool, n: int, stride: int, bias: int, out: int, threads: int = 1
    ) -> None: ...
    @property
    def long_a8(self) -> bool: ...
    def decode(self, first: int, count: int, out: int, bfloat16: bool, threads: int = 1) -> None: ...
    @property
    def address(self) -> int: ...

def long_products(path: str = "") -> bool: ...
def long_workspace_bytes() -> int: ...
def openmp_runtime() -> str: ...

class Cache:
    def __init__(
        self, layers: int, key_heads: int, head_width: int, slots: int, room: int, bits: int
    ) -> None: ...
    bytes: int
    room: int
    slots: int

class Decoder:
    def __init__(
        self,
        *,
        layers: int,
        hidden: int,
        heads: int,
        key_heads: int,
        head_width: int,
        intermediate: int,
        vocabulary: int,
        eps: float,
        scale: float,
        norm: int,
        numerics: str,
        path: str = "",
    ) -> None: ...
    def set_linear(
        self, layer: int, name: str, kind: str, weight: int, rows: int, cols: int, bias: int = 0
    ) -> None: ...
    def set_layer(
        self,
        layer: int,
        *,
        attention_norm: int,
        mlp_norm: int,
        q_norm: int = 0,
        k_norm: int = 0,
        window: int = 0,
    ) -> None: ...
    @property
    def reads(self) -> bool: ...
    def read(
        self,
        cache: Cache,
        tokens: Any,
        slot: int,
        start: int,
        cos: int,
        sin: int,
        positions: int,
        logits: int,
        threads: int,
    ) -> None: ...
    def step(
        self,
        cache: Cache,
        tokens: Any,
        slots: Any,
        places: Any,
        wanted: Any,
        cos: int,
        sin: int,
        positions: int,
        logits: int,
        threads: int,
    ) -> None: ...
