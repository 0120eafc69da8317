"""A conversation with a model: turns, a template, and a history that is kept within the context."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kbit.errors import ModelError, UsageError
from kbit.models.cache_facts import cache_facts
from kbit.models.generation import Generated, generate

PLAIN = {"system": "", "user": "User: ", "assistant": "Assistant: "}
"""How turns are written for a tokeniser without a chat template: a plain dialogue, a line each."""
PLAIN_STOP = ("\nUser:",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Who said what: `system`, `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer, and what was left out so that it fits.

    Attributes:
        made: the continuation.
        forgotten: turns, oldest first, that the prompt no longer holds.
    """

    made: Generated
    forgotten: int


@dataclass(slots=True)
class Conversation:
    """Turns so far, and the model that answers.

    Args of the constructor:
        model: a causal language model.
        tokenizer: its tokeniser; its chat template is used where it has one, a plain dialogue otherwise.
        system: what stands before the first turn, and is never forgotten; none where empty.
    """

    model: Any
    tokenizer: Any
    system: str = ""
    turns: list[Turn] = field(default_factory=list)

    @property
    def has_template(self) -> bool:
        """Whether the tokeniser says how turns are written."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def prompt(self, turns: list[Turn]) -> str:
        """These turns as one text that the assistant's answer continues."""
        spoken = [Turn(role="system", text=self.system)] if self.system else []
        spoken += turns
        if self.has_template:
            messages = [{"role": turn.role, "content": turn.text} for turn in spoken]
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return text
        lines = [PLAIN[turn.role] + turn.text for turn in spoken]
        return "\n".join([*lines, PLAIN["assistant"].rstrip()])

    def say(
        self,
        text: str,
        *,
        max_new_tokens: int = 256,
        stream: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> Reply:
        """Say something, and get the answer; both are remembered, also where the answer was interrupted.

        The oldest turns are forgotten, pairwise, until prompt and answer fit the model's context.

        Args:
            text: what the user says.
            max_new_tokens: of the answer.
            stream: called with each piece of the answer.
            settings: of `generate`.

        Raises:
            UsageError: nothing was said.
            ModelError: it does not fit the context even alone.
        """
        if not text.strip():
            raise UsageError("say something: an empty turn has no answer.")
        turns = [*self.turns, Turn(role="user", text=text)]
        prompt, forgotten = self._fitting(turns, max_new_tokens)
        stop = tuple(settings.pop("stop", ())) + (() if self.has_template else PLAIN_STOP)
        made = generate(
            self.model,
            _Bare(self.tokenizer) if self.has_template else self.tokenizer,
            prompt,
            max_new_tokens=max_new_tokens,
            stream=stream,
            stop=stop,
            **settings,
        )
        self.turns = [*turns, Turn(role="assistant", text=made.text.strip())]
        return Reply(made=replace(made, text=made.text.strip()), forgotten=forgotten)

    def _fitting(self, turns: list[Turn], new_tokens: int) -> tuple[str, int]:
        context = cache_facts(self.model.config.to_dict())["max_context"]
        for start in range(0, len(turns), 2):
            prompt = self.prompt(turns[start:])
            tokens = len(self.tokenizer(prompt)["input_ids"])
            if context is None or tokens + new_tokens <= context:
                return prompt, start
        raise ModelError(
            f"this turn is {tokens} tokens and the answer at most {new_tokens}; the model reads {context}. "
            "Say less, or ask for fewer new tokens."
        )


class _Bare:
    """A tokeniser that adds no begin of its own: a template has written it already."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> Any:
        return self._tokenizer(text, add_special_tokens=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
