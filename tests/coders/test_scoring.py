import numpy as np
import torch

from kbit.coders.scoring import LENGTH_STEP, Batching, length_step, token_values
from kbit.coders.tokens import Tokenised
from kbit.coders.windows import WindowPlan
from kbit.corpus import Document


def test_texts_of_any_length_meet_few_lengths_of_window() -> None:
    """Kernels kept for each length must not make memory grow with the text."""
    context = 100
    documents = [
        Tokenised(document=Document(name=str(n), text="x" * n), ids=list(range(n)), bytes_lost=0)
        for n in range(1, 250)
    ]
    lengths = set()

    def evaluate(batch):
        lengths.add(batch.ids.shape[1])
        assert batch.mask is None
        return batch.targets.numpy().astype(np.float64)[:, None]

    batching = Batching(
        plan=WindowPlan(context=context, stride=50),
        prefix=7,
        repeat_prefix=True,
        size=1,
        device=torch.device("cpu"),
        length_step=length_step(torch.float32, torch.bfloat16),
    )
    for item, values in token_values(documents, batching, evaluate, columns=1):
        # Every token got its own figure, whatever the padding.
        assert values[:, 0].tolist() == item.ids
    assert lengths == {LENGTH_STEP, 2 * LENGTH_STEP, 3 * LENGTH_STEP, context}


def test_float32_is_not_padded() -> None:
    """Padding changes sums by rounding; exact measurements go without."""
    assert length_step(torch.float32) == 1
