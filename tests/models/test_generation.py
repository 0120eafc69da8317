"""Generation: the tutorial's lines, seeds, limits, and text that streams whole characters."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from kbit.errors import ModelError, UsageError
from kbit.models import generate, generation, load, load_tokenizer
from kbit.models.text_stream import TextStream
from kbit.quantize import quantize_model

TEXT = ["The hen is in the tin, and there the other hen is.", "天地玄黄,宇宙洪荒。日月盈昃,辰宿列张。"]
CHINESE = "天地玄黄,the hen 🐔 洪荒"


def byte_level_bpe():
    """As GPT-2's: bytes of a character may fall into several tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    made.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    end = special[0]
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=end, eos_token=end)


def byte_fallback_bpe():
    """As Llama's: characters unknown to it become tokens <0xE5>, and words begin with ▁."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "▁the", "▁hen", *"then"]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>"), vocabulary


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """A k-bit GPT-2 with a byte-level tokeniser."""
    place = tmp_path_factory.mktemp("gpt2")
    tokenizer = byte_level_bpe()
    source = tiny.write_model(place / "model", "gpt2", vocab_size=len(tokenizer))
    tokenizer.save_pretrained(source)
    return quantize_model(source, place / "out", format="nf4:b64", embeddings="int8:b64").out


@pytest.fixture(scope="module")
def model(folder):
    return load(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


def test_the_five_lines_of_any_tutorial(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import kbit.hf  # noqa: F401 (the one line that is added)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    input_ids = tokenizer.encode("The hen is in", return_tensors="pt")
    output = model.generate(input_ids, do_sample=True, top_k=50, max_length=50)
    text = tokenizer.decode(output[0], skip_special_tokens=True)

    assert text.startswith("The hen is in")
    assert input_ids.shape[1] < output.shape[1] <= 50
    assert output.max() < len(tokenizer)


def test_a_seed_gives_the_same_text_and_leaves_the_generator_alone(model, tokenizer):
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    first = generate(model, tokenizer, "The hen", max_new_tokens=12, seed=3)
    assert torch.equal(torch.rand(1), wanted)
    again = generate(model, tokenizer, "The hen", max_new_tokens=12, seed=3)
    other = generate(model, tokenizer, "The hen", max_new_tokens=12, seed=4)
    assert (first.text, first.tokens) == (again.text, again.tokens)
    assert first.tokens != other.tokens
    assert first.tokens_per_s > 0
    drawn = generate(model, tokenizer, "The hen", max_new_tokens=12)
    told = generate(model, tokenizer, "The hen", max_new_tokens=12, seed=drawn.seed)
    assert told.tokens == drawn.tokens


def greedy(model, ids, count):
    """The likeliest token each time, by whole forward passes without a cache."""
    new = []
    for _ in range(count):
        with torch.no_grad():
            new.append(int(model(torch.tensor([[*ids, *new]])).logits[0, -1].argmax()))
    return tuple(new)


def test_temperature_zero_takes_the_likeliest_token(model, tokenizer):
    wanted = greedy(model, tokenizer("The hen")["input_ids"], 6)
    got = generate(model, tokenizer, "The hen", max_new_tokens=6, temperature=0, seed=1)
    assert got.tokens[: len(wanted)] == wanted[: len(got.tokens)]
    # Among one token, or among those of a sliver of probability, sampling has no choice either.
    for settings_ in ({"top_k": 1}, {"top_p": 1e-9}):
        one = generate(model, tokenizer, "The hen", max_new_tokens=6, seed=1, **settings_)
        assert one.tokens == got.tokens


def test_top_k_bounds_what_is_drawn(model, tokenizer):
    ids = tokenizer("The hen")["input_ids"]
    with torch.no_grad():
        likely = set(model(torch.tensor([ids])).logits[0, -1].topk(3).indices.tolist())
    settings_ = {"max_new_tokens": 1, "temperature": 5.0}
    drawn = {generate(model, tokenizer, "The hen", top_k=3, seed=s, **settings_).tokens[0] for s in range(30)}
    assert drawn == likely
    free = {generate(model, tokenizer, "The hen", top_k=0, seed=s, **settings_).tokens[0] for s in range(30)}
    assert free - likely


def test_streamed_pieces_are_the_text_and_hold_no_broken_character(model, tokenizer):
    pieces = []
    result = generate(
        model, tokenizer, "天地", max_new_tokens=40, temperature=2.0, seed=5, stream=pieces.append
    )
    assert "".join(pieces) == result.text
    assert all(pieces)
    assert len(pieces) > 3


def test_it_stops_at_the_end_of_text_or_of_the_context(model, tokenizer, monkeypatch):
    assert generate(model, tokenizer, "The", max_new_tokens=3, seed=1).finish in ("length", "end")
    long = "the " * 50
    used = len(tokenizer(long)["input_ids"])
    assert 40 < used < 64
    full = generate(model, tokenizer, long, max_new_tokens=500, seed=1)
    assert full.finish == "end" or len(full.tokens) == 64 - used
    first = greedy(model, tokenizer("The hen")["input_ids"], 1)[0]
    monkeypatch.setattr(model.generation_config, "eos_token_id", first)
    ended = generate(model, tokenizer, "The hen", temperature=0, max_new_tokens=9)
    assert (ended.finish, ended.tokens) == ("end", (first,))


def test_prompts_too_long_or_empty(model, tokenizer, monkeypatch):
    with pytest.raises(ModelError, match=r"the prompt is \d+ tokens, and the model reads at most 64"):
        generate(model, tokenizer, "the " * 100)
    assert generate(model, tokenizer, "", max_new_tokens=2, seed=1).prompt_tokens == 1
    bare = byte_level_bpe()
    bare.bos_token = bare.eos_token = None
    with pytest.raises(ModelError, match="an empty prompt"):
        generate(model, bare, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
    ],
)
def test_settings_out_of_range_are_named(model, tokenizer, wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} must be"):
        generate(model, tokenizer, "The", **wrong)


def streamed(tokenizer, tokens, prompt=()):
    stream = TextStream(tokenizer, prompt)
    return [piece for t in tokens if (piece := stream.push(t))] + [stream.end()]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="the n天地玄🐔é", max_size=20))
def test_byte_level_text_comes_whole(tokenizer, text):
    tokens = tokenizer(text)["input_ids"]
    pieces = streamed(tokenizer, tokens)
    assert "".join(pieces) == text
    assert not any("�" in piece for piece in pieces)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="天地玄🐔é", min_size=1, max_size=8))
def test_byte_fallback_text_comes_whole(text):
    tokenizer, vocabulary = byte_fallback_bpe()
    tokens = [vocabulary[f"<0x{b:02X}>"] for b in text.encode()]
    pieces = streamed(tokenizer, tokens, prompt=[vocabulary["▁the"]])
    assert "".join(pieces) == text
    assert [p for p in pieces if p] == list(text)  # each as soon as its last byte is there


def test_the_space_before_the_first_new_word_is_kept():
    tokenizer, vocabulary = byte_fallback_bpe()
    assert tokenizer.decode([vocabulary["▁hen"]]) == "hen"  # alone it loses its space
    assert streamed(tokenizer, [vocabulary["▁hen"]], prompt=[vocabulary["▁the"]])[0] == " hen"


def test_a_character_that_never_ends_is_given_at_the_end():
    tokenizer, vocabulary = byte_fallback_bpe()
    half = [vocabulary["<0xE5>"], vocabulary["<0xA4>"]]
    assert streamed(tokenizer, half, prompt=[vocabulary["▁the"]]) == ["��"]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match="seed"):
        generation._check(5, seed, (), "auto")


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(ModelError, match="not numbers"):
        generation._numbers(torch.zeros(1, 3, dtype=torch.long), torch.tensor([[0.0, float("nan")]]))
