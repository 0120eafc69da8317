"""Decoding with a whole step of the model in the C++ core."""

from kbit.models.decode.decoder import CoreDecoder, unserved

__all__ = ["CoreDecoder", "unserved"]
