"""The tables as they are now. How a store gets there is in `migrations.py`."""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("applied_at", Text, nullable=False),
    Column("kbit", Text, nullable=False),
)

# `identifying` is the canonical JSON that `key` is the hash of; the other columns are labels.
subject = Table(
    "subject",
    metadata,
    Column("key", Text, primary_key=True),
    Column("identifying", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("content", Text),
    Column("name", Text, nullable=False),
    Column("family", Text),
    Column("format", Text),
    Column("format_bits", Double),
    Column("method", Text),
    Column("parameters", BigInteger),
    Column("parameters_body", BigInteger),
    Column("weights", BigInteger),
    Column("weights_body", BigInteger),
    Column("stored_bits", BigInteger),
    Column("stored_bits_body", BigInteger),
    Column("stored_bits_embeddings", BigInteger),
    Column("architecture", Text),
)

text = Table(
    "text",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
)

document = Table(
    "document",
    metadata,
    Column("text", Text, ForeignKey("text.hash"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("characters", BigInteger, nullable=False),
)

probe = Table(
    "probe",
    metadata,
    Column("key", Text, primary_key=True),
    Column("identifying", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, ForeignKey("text.hash"), nullable=False),
    Column("against", Text, ForeignKey("subject.key")),
)

measurement = Table(
    "measurement",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("lineage", Text, nullable=False),
    Column("subject", Text, ForeignKey("subject.key"), nullable=False),
    Column("probe", Text, ForeignKey("probe.key"), nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("numerator", Double),
    Column("denominator", Double),
    Column("wall_s", Double),
    Column("peak_memory_bytes", BigInteger),
    Column("device", Text),
    Column("threads", Integer),
    Column("versions", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("identity", "metric"),
)

part = Table(
    "part",
    metadata,
    Column("measurement", BigInteger, ForeignKey("measurement.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("numerator", Double, nullable=False),
    Column("denominator", Double, nullable=False),
    Column("tokens", BigInteger),
    Column("bytes_lost", BigInteger),
)

# What a study planned when it last ran; a planned row need not be measured yet.
planned = Table(
    "planned",
    metadata,
    Column("study", Text, primary_key=True),
    Column("identity", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
)

claim = Table(
    "claim",
    metadata,
    Column("work", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
)
