"""Decoding with a whole step of the model in the C++ core."""

from kbit.models.decode.decoder import CoreDecoder, unserved
from kbit.models.decode.sampling import Chooser, Sampling, not_numbers

__all__ = ["Chooser", "CoreDecoder", "Sampling", "not_numbers", "unserved"]
