"""A vector for each document: its posterior mean, or the mean hidden state of a model that reads it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kbit.coders.latent import LatentCoder
from kbit.coders.logits import evaluating, max_positions
from kbit.coders.pieces import batch_of
from kbit.coders.tokens import find_prefix, tokenise
from kbit.corpus import Document
from kbit.errors import CorpusError, ModelError
from kbit.information.latent_space import Floats
from kbit.models.latent import is_latent

LONGEST = 512
"""Tokens of a document that a language model reads for its vector."""


@torch.inference_mode()
def text_vectors(model: Any, tokenizer: Any, documents: Sequence[Document]) -> Floats:
    """Where texts lie in a model's space, float64 [documents, dimensions].

    A latent model gives the mean of its posterior means over a document's pieces; any other the mean over
    tokens of its last hidden states, of the first 512 tokens.

    Raises:
        CorpusError: a document is empty.
        ModelError: the model is a latent one without a latent space.
    """
    for document in documents:
        if not document.text.strip():
            raise CorpusError(f"the document {document.name!r} is empty, so it lies nowhere. Leave it out.")
    with evaluating(model):
        if not is_latent(model):
            return np.stack([_hidden(model, tokenizer, document) for document in documents])
        if not model.latent_size:
            raise ModelError(
                "this model is the plain language model of a latent recipe (latent 0): it has no latent "
                "space. Map a variant that has one."
            )
        coder = LatentCoder(model, tokenizer, name="map")
        return np.stack([_posterior(coder, document) for document in documents])


def _posterior(coder: LatentCoder, document: Document) -> Floats:
    pieces, _ = coder.pieces(document)
    ids, mask = batch_of(pieces, begin=coder.prefix.id, end=coder.end)
    mean: Floats = coder.model.posterior(ids, mask).mean.mean(dim=0).double().numpy()
    return mean


def _hidden(model: Any, tokenizer: Any, document: Document) -> Floats:
    longest = min(LONGEST, max_positions(model.config) or LONGEST)
    ids = [find_prefix(tokenizer).id, *tokenise(tokenizer, document).ids][:longest]
    output = model(torch.tensor([ids], device=model.device), output_hidden_states=True, use_cache=False)
    mean: Floats = output.hidden_states[-1][0, 1:].double().mean(dim=0).cpu().numpy()
    return mean
