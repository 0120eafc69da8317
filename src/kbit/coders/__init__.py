"""Anything that gives a document a code length in bits.

The language model's coder loads torch, so it is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kbit.coders.code_lengths import CodeLengths, Coder, total
from kbit.coders.context_tree import ContextTreeCoder
from kbit.coders.kt import KtCoder
from kbit.coders.ngram import NgramCoder
from kbit.coders.registry import CODERS, HEADLINE, baseline, listing
from kbit.coders.uniform import UniformCoder
from kbit.coders.unigram import UnigramCoder

if TYPE_CHECKING:
    from kbit.coders.language_model import LanguageModelCoder as LanguageModelCoder

__all__ = [
    "CODERS",
    "HEADLINE",
    "CodeLengths",
    "Coder",
    "ContextTreeCoder",
    "KtCoder",
    "LanguageModelCoder",
    "NgramCoder",
    "UniformCoder",
    "UnigramCoder",
    "baseline",
    "listing",
    "total",
]


def __getattr__(name: str) -> Any:
    if name == "LanguageModelCoder":
        return importlib.import_module("kbit.coders.language_model").LanguageModelCoder
    raise AttributeError(f"module 'kbit.coders' has no attribute {name!r}")
