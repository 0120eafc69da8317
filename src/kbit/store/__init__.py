"""Measurements in SQL."""

from kbit.store.identity import canonical_json, identity, lineage
from kbit.store.measurement import Costs, Labels, Measurement, Part, Probe, Subject
from kbit.store.rows import HEADLINE_BASELINE
from kbit.store.store import Store, open_store

__all__ = [
    "HEADLINE_BASELINE",
    "Costs",
    "Labels",
    "Measurement",
    "Part",
    "Probe",
    "Store",
    "Subject",
    "canonical_json",
    "identity",
    "lineage",
    "open_store",
]
