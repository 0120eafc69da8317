"""One example of a task: what is asked, and what the answer is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Form = Literal["completion", "label", "chat"]
FORMS: tuple[Form, ...] = get_args(Form)
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Who said what: `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A prompt with the completion that answers it, a text with its label, or messages.

    Attributes:
        source: the place it was read from, `file:line`.
        prompt: what is asked, or the text to label; empty for messages.
        completions: right answers, each enough; empty for the other forms.
        label: of the text; None for the other forms.
        messages: of a conversation, the last of them the assistant's; empty for the other forms.
        fields: all other fields of the record, as they were read.
    """

    source: str
    prompt: str = ""
    completions: tuple[str, ...] = ()
    label: str | None = None
    messages: tuple[Message, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> Form:
        """Which of the three it is."""
        return "chat" if self.messages else "completion" if self.label is None else "label"

    @property
    def completion(self) -> str | None:
        """The first right answer; of a conversation, what the assistant says last."""
        if self.messages:
            return self.messages[-1].content
        return self.completions[0] if self.completions else None

    @property
    def target(self) -> str:
        """What is to be said, whatever the form: completion, label or last message."""
        return self.completion or self.label or ""
