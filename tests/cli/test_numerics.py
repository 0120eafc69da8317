"""8-bit activations: on request, told, and close to 16-bit ones."""

import pytest
import torch

from kbit.coders import LanguageModelCoder
from kbit.errors import ModelError
from kbit.formats import parse_format
from kbit.kernels import kernel_for
from kbit.models import load, load_tokenizer
from kbit.models.numerics import numerics_of, set_numerics
from kbit.quantize import quantize_model


@pytest.fixture
def folders(tiny_family, tmp_path):
    quantize_model(
        tiny_family[0], tmp_path / "int8", format="int8:b64", head="int8:b64", embeddings="int8:b64"
    )
    return tiny_family[0], tmp_path / "int8"


def test_a8_is_asked_for_and_told(folders) -> None:
    _, packed = folders
    model, coarse = load(packed), load(packed, numerics="a8")
    assert (numerics_of(model), numerics_of(coarse)) == ("a16", "a8")
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        exact, rounded = model(tokens).logits, coarse(tokens).logits
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).abs().max() < 0.1 * exact.std()
    set_numerics(coarse, "a16")
    with torch.no_grad():
        assert torch.equal(coarse(tokens).logits, exact)
    tokenizer = load_tokenizer(packed)
    assert "activations" not in LanguageModelCoder(model, tokenizer, name="m").numerics
    set_numerics(model, "a8")
    assert LanguageModelCoder(model, tokenizer, name="m").numerics["activations"] == "a8"


def test_the_same_numerics_for_any_number_of_rows() -> None:
    for rows in (1, 16, 17, 2048):
        assert kernel_for(parse_format("nf4:b64"), rows=rows, numerics="a8").numerics == "a8"


def test_what_cannot_be_had_is_refused(folders) -> None:
    dense, packed = folders
    with pytest.raises(ModelError, match="has none"):
        load(dense, numerics="a8")
    with pytest.raises(ModelError, match="did you mean"):
        load(packed, numerics="a88")
