"""One contestant of `decode.py` in a process of its own: loads a model, then does what standard input asks.

    PYTHON benchmarks/decode_worker.py KIND MODEL THREADS [--flash on|off]

A first line tells what was loaded, as JSON; then each line of input, `{"do": "decode", "tokens": 32}` or
`{"do": "prompt", "tokens": 512}`, is answered by `{"seconds": …}`. Decoding feeds tokens one at a time from
an empty context; a prompt ends when the logits of what follows are there. Tokens are random, logits are made
and their greatest is found.
"""

import argparse
import ctypes
import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY = 32000
Feed = Callable[[list[int]], int]  # tokens appended; the likeliest next one
ROOM = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """What a worker serves.

    Attributes:
        begin: an empty context, from a request (whose `numerics` may matter).
        bytes_a_token: read of the weights for one token; the embedding's other rows are not.
        cache_bytes: of keys and values, where known.
        told: what a reader of the figures should know.
    """

    begin: Callable[[dict[str, Any]], Feed]
    bytes_a_token: int
    cache_bytes: int | None
    told: dict[str, Any]


def kbit(model: str, threads: int, flash: bool) -> Contestant:
    import torch

    from kbit.models.decode import CoreDecoder
    from kbit.models.load import load
    from kbit.models.numerics import set_numerics

    torch.set_num_threads(threads)
    import transformers.models.llama.modeling_llama  # noqa: F401 (a part of the interpreter's memory)

    import kbit.hf

    kbit.hf.register()
    interpreter = resident()
    loaded = load(model)
    decoders = {}

    def begin(request: dict[str, Any]) -> Feed:
        numerics = request.get("numerics", "a16")
        if numerics not in decoders:
            decoders.clear()
            set_numerics(loaded, numerics)
            decoders[numerics] = CoreDecoder(loaded, room=ROOM)
        decoder = decoders[numerics]
        decoder.rewind(0)

        def feed(tokens: list[int]) -> int:
            logits = decoder.step(tokens)[0] if len(tokens) == 1 else decoder.read(tokens)
            return int(logits.argmax())

        return feed

    begin({})
    size = sum(p.numel() * p.element_size() for p in loaded.parameters())
    rest = loaded.model.embed_tokens
    unread = sum(p.numel() * p.element_size() for p in rest.parameters()) * (VOCABULARY - 1) // VOCABULARY
    return Contestant(
        begin=begin, bytes_a_token=size - unread, cache_bytes=decoders["a16"].cache_bytes,
        told={"stored_bytes": size, "interpreter_bytes": interpreter},
    )  # fmt: skip


def llama(model: str, threads: int, flash: bool, repack: bool = True) -> Contestant:
    import llama_cpp as lc
    import numpy as np

    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    how = lc.llama_model_default_params()
    how.n_gpu_layers = 0
    how.use_extra_bufts = repack
    loaded = lc.llama_model_load_from_file(model.encode(), how)
    setting = lc.llama_context_default_params()
    setting.n_ctx = ROOM
    setting.n_batch = setting.n_ubatch = 512
    setting.n_threads = setting.n_threads_batch = threads
    setting.flash_attn_type = 1 if flash else 0
    setting.no_perf = True
    context = lc.llama_init_from_model(loaded, setting)
    memory = lc.llama_get_memory(context)

    def begin(request: dict[str, Any]) -> Feed:
        lc.llama_memory_clear(memory, True)

        def feed(tokens: list[int]) -> int:
            given = (lc.llama_token * len(tokens))(*tokens)
            if lc.llama_decode(context, lc.llama_batch_get_one(given, len(tokens))):
                raise RuntimeError("llama_decode failed")
            logits = lc.llama_get_logits_ith(context, -1)
            return int(np.ctypeslib.as_array(logits, (VOCABULARY,)).argmax())

        return feed

    size = int(lc.llama_model_size(loaded))
    from_file, unread = gguf_sizes(model)
    told = {
        "stored_bytes": size,
        "file_tensor_bytes": from_file,
        "system": lc.llama_print_system_info().decode(),
        "flash_attention": flash,
        "repacking": bool(how.use_extra_bufts),
    }
    begin.kept = (quiet, loaded, context)  # type: ignore[attr-defined]
    return Contestant(begin=begin, bytes_a_token=from_file - unread, cache_bytes=None, told=told)


def gguf_sizes(path: str) -> tuple[int, int]:
    """Bytes of all tensors, and of the token embedding's rows that one token does not read."""
    import gguf

    reader = gguf.GGUFReader(path)
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    return sum(sizes.values()), sizes["token_embd.weight"] * (VOCABULARY - 1) // VOCABULARY


def transformers(
    model: str, threads: int, flash: bool, change: Callable[[Any], Any] | None = None
) -> Contestant:
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(threads)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    if change is not None:
        loaded = change(loaded) or loaded
    gc.collect()

    def begin(request: dict[str, Any]) -> Feed:
        cache = DynamicCache(config=loaded.config)

        def feed(tokens: list[int]) -> int:
            with torch.inference_mode():
                given = torch.tensor([tokens])
                out = loaded(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            return int(out.logits[0, -1].argmax())

        return feed

    size = sum(tensor_bytes(p) for p in loaded.parameters())
    embedding = tensor_bytes(loaded.model.embed_tokens.weight) * (VOCABULARY - 1) // VOCABULARY
    return Contestant(
        begin=begin, bytes_a_token=size - embedding, cache_bytes=None, told={"stored_bytes": size}
    )


def tensor_bytes(tensor: Any) -> int:
    """Bytes of a tensor, or of the parts of one that is quantised."""
    state = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes
        return int(tensor.numel() * tensor.element_size() + state.absmax.numel() * 4)
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None or type(tensor).__name__ in ("Tensor", "Parameter"):
        return int(tensor.numel() * tensor.element_size())
    return sum(tensor_bytes(getattr(tensor, name)) for name in flatten()[0])


def bitsandbytes(model: str, threads: int, flash: bool) -> Contestant:
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    def change(loaded: Any) -> Any:
        for name, module in list(loaded.named_modules()):
            if not isinstance(module, torch.nn.Linear):
                continue
            made = Linear4bit(
                module.in_features, module.out_features, bias=False, compute_dtype=torch.bfloat16,
                compress_statistics=False, quant_type="nf4",
            )  # fmt: skip
            made.weight = Params4bit(
                module.weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4"
            )
            parent, _, last = name.rpartition(".")
            setattr(loaded.get_submodule(parent), last, made.to("cpu"))

    return transformers(model, threads, flash, change)


def torchao(model: str, threads: int, flash: bool) -> Contestant:
    import torch
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization import quantize_

    def change(loaded: Any) -> Any:
        how = PrototypeInt4WeightOnlyConfig(group_size=64)
        quantize_(loaded, how, filter_fn=lambda module, name: isinstance(module, torch.nn.Linear))

    return transformers(model, threads, flash, change)


def quanto(model: str, threads: int, flash: bool) -> Contestant:
    import optimum.quanto as library

    def change(loaded: Any) -> Any:
        library.quantize(loaded, weights=library.qint4)
        library.freeze(loaded)

    return transformers(model, threads, flash, change)


KINDS: dict[str, Callable[..., Contestant]] = {
    "kbit": kbit,
    "llama": llama,
    "transformers": transformers,
    "bitsandbytes": bitsandbytes,
    "torchao": torchao,
    "quanto": quanto,
}


def resident(kind: str = "VmRSS") -> int:
    """Bytes in memory (VmRSS, RssAnon, RssFile or VmHWM) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) * 1024
    return 0


def seconds(contestant: Contestant, request: dict[str, Any]) -> float:
    """Wall time of one request."""
    tokens = [random.randrange(5, VOCABULARY) for _ in range(request["tokens"])]
    feed = contestant.begin(request)
    if request["do"] == "prompt":
        start = time.perf_counter()
        feed(tokens)
        return time.perf_counter() - start
    feed(tokens[:1])  # the first token of a text pays for nothing that the others do not
    start = time.perf_counter()
    for token in tokens:
        feed([token])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("model")
    parser.add_argument("threads", type=int)
    parser.add_argument("--repack", choices=("on", "off"), default="on", help="of llama.cpp")
    parser.add_argument("--flash", choices=("on", "off"), default="on")
    options = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    before = resident()
    extra = {"repack": False} if options.repack == "off" else {}
    contestant = KINDS[options.kind](options.model, options.threads, options.flash == "on", **extra)
    random.seed(0)
    seconds(contestant, {"do": "decode", "tokens": 2})  # what is made at the first use is there
    gc.collect()
    facts = contestant.told | {
        "bytes_a_token": contestant.bytes_a_token,
        "cache_bytes": contestant.cache_bytes,
        "resident_bytes": resident(),
        "resident_before_bytes": before,
    }
    print(json.dumps(facts), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": seconds(contestant, json.loads(line))}), file=out, flush=True)


if __name__ == "__main__":
    main()
