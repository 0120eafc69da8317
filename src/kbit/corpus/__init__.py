"""Documents: read, clean, deduplicate, split."""

from kbit.corpus.document import Document, content_hash
from kbit.corpus.example import Example, Message
from kbit.corpus.examples import ExampleFields, read_examples
from kbit.corpus.read import read_documents, write_documents

__all__ = [
    "Document",
    "Example",
    "ExampleFields",
    "Message",
    "content_hash",
    "read_documents",
    "read_examples",
    "write_documents",
]
