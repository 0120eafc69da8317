import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from kbit.corpus import Document, read_documents
from kbit.errors import TrainingError
from kbit.training.tokenizer import BOS, EOS, load_tokenizer, train_tokenizer

from .conftest import make_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
PIECES = st.lists(
    st.sampled_from(
        [
            "<s>",
            "</s>",
            "<0x41>",
            "<0xFF>",
            "▁",
            " ",
            "   ",
            "\n",
            "\r\n",
            "\t",
            "你好",
            "🎉",
            "é",
            "e\u0301",
            "a b",
            "x_y",
            "\x00",
            "\ufffd",
            "\ufeff",
        ]
    )
).map("".join)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return list(read_documents([make_text(tmp_path_factory.mktemp("text"))]))


@pytest.fixture(scope="module")
def folder(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(documents, vocabulary=512).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["load_tokenizer", "AutoTokenizer"])
def tokenizer(request, folder):
    return (
        load_tokenizer(folder) if request.param == "load_tokenizer" else AutoTokenizer.from_pretrained(folder)
    )


@settings(max_examples=200, deadline=None)
@given(text=TEXTS | PIECES)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_shape_of_the_vocabulary(tokenizer):
    assert len(tokenizer) == 512
    assert (tokenizer.bos_token, tokenizer.eos_token) == (BOS, EOS)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 257]) == [BOS, EOS, "<0x00>", "<0xFF>"]
    assert sorted(tokenizer.get_vocab().values()) == list(range(512))


def test_bytes_spell_what_the_vocabulary_lacks(tokenizer):
    ids = tokenizer("ß", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<0xC3>", "<0x9F>"]


def test_frequent_pieces_are_one_token(tokenizer):
    documents = "the words of the text are made of these letters"
    assert len(tokenizer(documents, add_special_tokens=False).input_ids) < len(documents)
    assert len(tokenizer("\n    ", add_special_tokens=False).input_ids) == 1


def test_it_depends_on_the_text_alone(documents, folder, tmp_path):
    train_tokenizer(documents, vocabulary=512).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_more_characters_on_request(documents):
    tokenizer = train_tokenizer(documents, vocabulary=600, alphabet=200)
    assert len(tokenizer("你", add_special_tokens=False).input_ids) == 1


def test_errors():
    with pytest.raises(TrainingError, match="vocabulary of 300 is too small"):
        train_tokenizer([], vocabulary=300)
    with pytest.raises(TrainingError, match="fewer than the vocabulary of 4096"):
        train_tokenizer([Document(name="a", text="a b c")], vocabulary=4096)
