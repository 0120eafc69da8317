import hashlib

from kbit.corpus import Document, content_hash


def test_sizes_count_bytes_and_code_points():
    document = Document(name="n", text="naïve 你好 🎉\n")
    assert document.bytes == 5 + 1 + 1 + 6 + 1 + 4 + 1
    assert document.characters == 5 + 1 + 2 + 1 + 1 + 1


def test_hash_is_the_one_written_down():
    digests = sorted(hashlib.sha256(t).digest() for t in (b"b", b"a", b"a"))
    expected = hashlib.sha256(b"kbit documents 1\n" + b"".join(digests)).hexdigest()
    found = content_hash([Document(name=str(i), text=t) for i, t in enumerate("aba")])
    assert found == expected


def test_hash_tells_where_a_document_ends():
    one = [Document(name="x", text="ab"), Document(name="y", text="c")]
    other = [Document(name="x", text="a"), Document(name="y", text="bc")]
    assert content_hash(one) != content_hash(other)
