"""Examples to hold out, where nobody says which."""

import hashlib
from collections.abc import Sequence

from kbit.corpus.example import Example
from kbit.errors import TrainingError


def held_out_share(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Part examples by a hash of what is asked, so that equal questions stay on one side.

    Args:
        examples: in any order; each part keeps it.
        share: that is held out, between 0 and 1.

    Returns:
        What to train on, and what is held out.

    Raises:
        TrainingError: one of the two is empty.
    """
    if not 0 < share < 1:
        raise TrainingError(f"the held-out share is {share}; it must be between 0 and 1.")
    kept: list[Example] = []
    held: list[Example] = []
    for example in examples:
        said = example.prompt or "\n".join(message.content for message in example.messages[:-1])
        digest = hashlib.sha256(said.encode()).digest()
        (held if int.from_bytes(digest[:8], "big") < share * 2**64 else kept).append(example)
    if not kept or not held:
        raise TrainingError(
            f"{len(examples)} examples, of which {share:.0%} are held out: {len(kept)} remain for training "
            f"and {len(held)} to watch. Give more examples, or held-out ones of your own."
        )
    return kept, held
