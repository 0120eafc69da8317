"""Fitted n-grams as safetensors files, whose tables are mapped into memory when they are used."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kbit.coders.kneser_ney import GramTable, KneserNey
from kbit.coders.ngram import NgramCoder
from kbit.coders.token_grams import TokenKneserNey, TrieLevel
from kbit.coders.token_ngram import TokenNgramCoder
from kbit.coders.tokens import tokeniser_spelling
from kbit.corpus.files import write_whole
from kbit.errors import CoderError

VERSION = 1
_DTYPES = {"U64": np.dtype("<u8"), "F64": np.dtype("<f8")}
_MOST_HEADER_BYTES = 100_000_000
Arrays = dict[str, NDArray[Any]]
AnyNgram = NgramCoder | TokenNgramCoder


def save_ngram(path: Path | str, coder: AnyNgram) -> None:
    """Write a fitted n-gram: 16 bytes for each gram and each context, a token n-gram with its tokeniser.

    Raises:
        CoderError: the tokeniser cannot be written as text.
        CorpusError: the file cannot be written.
    """
    from safetensors.numpy import save

    facts: dict[str, Any] = {
        "order": coder.model.order,
        "discounts": coder.model.discounts,
        "baseline_text": coder.baseline_hash,
        "coder_version": coder.version,
    }
    arrays: Arrays = {"unigram": coder.model.unigram}
    if isinstance(coder, NgramCoder):
        for name, tables in (("plain", coder.model.plain), ("begin", coder.model.begin)):
            for m, table in tables.items():
                for column in ("keys", "probability", "contexts", "backoff"):
                    arrays[f"{name}.{m}.{column}"] = getattr(table, column)
    else:
        if not hasattr(coder.tokenizer, "backend_tokenizer"):
            raise CoderError(
                "this tokeniser is none of the `tokenizers` library, so it cannot be saved along."
            )
        facts |= {"vocabulary": coder.model.vocabulary, "tokenizer": tokeniser_spelling(coder.tokenizer)}
        for m, level in enumerate(coder.model.levels, start=2):
            for column in ("keys", "probability", "backoff"):
                arrays[f"level.{m}.{column}"] = getattr(level, column)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_whole(path, save(arrays, {"kbit.ngram": str(VERSION), "facts": json.dumps(facts)}))


def load_ngram(path: Path | str) -> AnyNgram:
    """An n-gram that `save_ngram` wrote; its tables are read as they are needed.

    Raises:
        CoderError: the file is missing, cut short, or holds something else.
    """
    path = Path(path)
    try:
        arrays, metadata = _map(path)
        if metadata.get("kbit.ngram") != str(VERSION):
            raise CoderError(f"{path} holds no n-gram of this kbit. Fit one with `kbit ngram`.")
        facts = json.loads(metadata["facts"])
        return _token_ngram(arrays, facts) if "tokenizer" in facts else _byte_ngram(arrays, facts)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise CoderError(
            f"{path} is no saved n-gram, or is damaged ({error}). Fit one with `kbit ngram`."
        ) from error


def _map(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Arrays of a safetensors file, not read yet, and its metadata."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size - 8, _MOST_HEADER_BYTES):
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {})
    arrays: Arrays = {}
    for name, facts in header.items():
        dtype, (start, end) = _DTYPES[facts["dtype"]], facts["data_offsets"]
        [count] = facts["shape"]
        if end - start != count * dtype.itemsize or not 0 <= start <= end <= size - 8 - length:
            raise ValueError("it is cut short")
        offset = 8 + length + start
        arrays[name] = np.memmap(path, dtype, "r", offset, (count,)) if count else np.zeros(0, dtype)
    return arrays, metadata


def _byte_ngram(arrays: Arrays, facts: dict[str, Any]) -> NgramCoder:
    tables: dict[str, dict[int, GramTable]] = {
        kind: {
            m: GramTable(
                keys=arrays[f"{kind}.{m}.keys"],
                probability=arrays[f"{kind}.{m}.probability"],
                contexts=arrays[f"{kind}.{m}.contexts"],
                backoff=arrays[f"{kind}.{m}.backoff"],
            )
            for m in range(2, facts["order"] + 1)
        }
        for kind in ("plain", "begin")
    }
    model = KneserNey(
        order=facts["order"],
        discounts=tuple((a, b, c) for a, b, c in facts["discounts"]),
        unigram=np.array(arrays["unigram"]),
        plain=tables["plain"],
        begin=tables["begin"],
    )
    return NgramCoder(model, baseline_hash=facts["baseline_text"])


def _token_ngram(arrays: Arrays, facts: dict[str, Any]) -> TokenNgramCoder:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    model = TokenKneserNey(
        order=facts["order"],
        vocabulary=facts["vocabulary"],
        discounts=tuple((a, b, c) for a, b, c in facts["discounts"]),
        unigram=np.array(arrays["unigram"]),
        levels=tuple(
            TrieLevel(
                keys=arrays[f"level.{m}.keys"],
                probability=arrays[f"level.{m}.probability"],
                backoff=arrays[f"level.{m}.backoff"],
            )
            for m in range(2, facts["order"] + 1)
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(facts["tokenizer"]))
    return TokenNgramCoder(model, tokenizer, baseline_hash=facts["baseline_text"])
