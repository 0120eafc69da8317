"""Bits of generated and of human text under the model that drew, the model as it is, and a scorer.

With q the distribution tokens were drawn from, r an independent scorer and p human text, in bits per byte:
H(q) is the mean of -log2 q over what was drawn (unbiased); the cross-entropy of r on it less H(q) is
KL(q || r), never negative but by chance; the cross-entropy of r on it less that on human text is the gap.
Tokens are what was drawn and bytes what they say: where two series of tokens say the same, H(q) of the text
is below that of the tokens, so the implausibility is a little too low.
"""

from collections.abc import Sequence

from kbit.coders import Coder
from kbit.corpus import Document
from kbit.information.generated.continuation import Continuation
from kbit.information.generated.figure import Figure, Options, PerText, figure, per_text

Texts = Sequence[Continuation]


def conditional_bits(coder: Coder, texts: Texts) -> list[float]:
    """Bits of each text given its prompt: those of both less those of the prompt."""
    prompts = list(dict.fromkeys(c.prompt for c in texts if c.prompt))
    documents = [Document(name=f"prompt {i}", text=prompt) for i, prompt in enumerate(prompts)]
    before = dict(zip(prompts, (c.bits for c in coder.code_lengths(documents)), strict=True))
    wholes = coder.code_lengths([c.whole for c in texts])
    return [w.bits - before.get(c.prompt, 0.0) for w, c in zip(wholes, texts, strict=True)]


def bits_figures(
    generated: Texts, human: Texts, scorer: Coder | None, generator: Coder | None, options: Options
) -> dict[str, Figure]:
    """What needs models: cross-entropies, the decoding's own entropy, and their differences."""
    bytes_of = [[float(c.bytes) for c in texts] for texts in (generated, human)]
    ours = theirs = None
    no_scorer = None if scorer else "no scorer: give one"
    if scorer is not None:
        ours, theirs = (conditional_bits(scorer, texts) for texts in (generated, human))
    drawn = _all([c.decoding_bits for c in generated])
    own = _all([c.model_bits for c in generated])
    untold = "the generated text does not tell the bits of its tokens: write it with kbit generate --out"
    covered = None if generator is None else conditional_bits(generator, human)
    no_generator = "no generator: give the model that generated, to see its bits of the human text"

    def one(texts: Texts, values: Sequence[float] | None, place: int) -> PerText | None:
        return None if values is None else per_text(texts, values, bytes_of[place])

    entropy = one(generated, drawn, 0)
    coverage = one(human, covered, 1)
    implausible = None
    if ours is not None and drawn is not None:
        implausible = per_text(generated, [a - b for a, b in zip(ours, drawn, strict=True)], bytes_of[0])
    no_coverage = no_generator if generator is None else None if drawn else untold
    rows: dict[str, tuple[PerText | None, PerText | None, str | None]] = {
        "cross_entropy": (one(generated, ours, 0), one(human, theirs, 1), no_scorer),
        "decoding_entropy": (entropy, None, None if drawn else untold),
        "implausibility": (implausible, None, None if implausible else no_scorer or untold),
        "model_entropy": (one(generated, own, 0), coverage, no_coverage),
        "calibration": (entropy, coverage, no_coverage),
    }
    return {
        name: figure("bits/byte", first, second, options=options, reason=reason)
        for name, (first, second, reason) in rows.items()
    }


def _all(values: Sequence[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None
