"""Tables made from the weights of several layers: stored by the first of them, counted once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from kbit.formats.densities import fit_table
from kbit.formats.encoding import table_density
from kbit.formats.fitted_tables import Density
from kbit.models.layer_names import split_name
from kbit.models.record import LayerRecord


def share_tables(records: Iterable[LayerRecord]) -> dict[str, LayerRecord]:
    """The records by name, each with the layer whose table it uses.

    Linear layers share (all of them, or those that differ in their number only) where their format says so
    and their data type is the same; embedding and head keep tables of their own.
    """
    owners: dict[tuple[str, str], str] = {}
    made: dict[str, LayerRecord] = {}
    for record in records:
        scope = record.format.table
        if scope != "tensor" and record.role == "linear":
            group = split_name(record.name)[0] if scope == "kind" else ""
            owner = owners.setdefault((record.format.datatype.name, group), record.name)
            if owner != record.name:
                record = replace(record, table_of=owner)
        made[record.name] = record
    return made


def fit_shared_tables(
    records: Iterable[LayerRecord], read: Callable[[LayerRecord], Tensor]
) -> Mapping[str, Tensor]:
    """The table of each layer that shares one, by layer; every weight of a group is read once.

    Args:
        records: of a plan.
        read: gives a layer's weight as it is coded.
    """
    records = list(records)
    sharing = {record.table_of for record in records if record.table_of is not None}
    densities: dict[str, Density] = {}
    formats = {record.name: record.format for record in records}
    for record in records:
        owner = record.table_of or record.name
        if owner in sharing:
            density = table_density(read(record), record.format)
            densities[owner] = densities[owner] + density if owner in densities else density
    tables = {}
    for owner, density in densities.items():
        fit = formats[owner].datatype.fit
        if fit is not None:
            tables[owner] = fit_table(fit, formats[owner].bits, density)
    return {r.name: tables[r.table_of or r.name] for r in records if (r.table_of or r.name) in tables}
