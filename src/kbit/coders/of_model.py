"""The coder that fits a loaded model: token by token, or through a latent space."""

from typing import Any

from kbit.coders.language_model import LanguageModelCoder
from kbit.coders.latent import LatentCoder
from kbit.errors import UsageError
from kbit.models.latent import is_latent


def coder_of(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    context: int | None = None,
    stride: int | None = None,
    batch_size: int | None = None,
    prefix: str | int | None = None,
    repeat_prefix: bool = True,
    samples: int | None = None,
) -> LanguageModelCoder | LatentCoder:
    """A coder of any model kbit loads; see the two classes for arguments.

    Raises:
        UsageError: an option that this kind of model does not have.
    """
    if is_latent(model):
        given = {"context": context, "stride": stride, "prefix": prefix}
        wrong = [key for key, value in given.items() if value is not None]
        if wrong:
            raise UsageError(
                f"{name} cuts a text into pieces that each have a latent vector, so it takes no "
                f"--{wrong[0]}. Leave it out."
            )
        return LatentCoder(model, tokenizer, name=name, **({} if samples is None else {"samples": samples}))
    if samples is not None:
        raise UsageError(f"{name} has no latent vector, so it takes no --samples. Leave it out.")
    return LanguageModelCoder(
        model,
        tokenizer,
        name=name,
        context=context,
        stride=stride,
        batch_size=batch_size,
        prefix=prefix,
        repeat_prefix=repeat_prefix,
    )
