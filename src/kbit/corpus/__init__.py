"""Documents: read, clean, deduplicate, split."""

from kbit.corpus.document import Document, content_hash
from kbit.corpus.read import read_documents, write_documents

__all__ = ["Document", "content_hash", "read_documents", "write_documents"]
