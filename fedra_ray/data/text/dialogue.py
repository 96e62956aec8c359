"""Prompts and answers as tokens: how a language model is asked, and where its answer begins and ends."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.data.text.dataset import Tokens, padding_of

#: Messages with a role and a content; the last one is the answer, where there is one.
Messages = list[dict[str, str]]
_BETWEEN = "\n\n"  # prompt, context and answer, where nothing else is told
_FIELDS = re.compile(r"\{(prompt|context)\}")


class Answered(NamedTuple):
    """The tokens of a prompt and of its answer."""

    prompt: Tokens
    answer: Tokens

    def cut(self, most: int) -> "Answered":
        """At most so many tokens: the answer loses its end, but for half of them, and the prompt its beginning."""
        answer = self.answer[: max(most - len(self.prompt), most // 2)]
        return Answered(self.prompt[max(0, len(self.prompt) - most + len(answer)) :], answer)


class Dialogue:
    """Puts prompts to a model as its tokenizer does.

    That is by the tokenizer's own chat template; or, if it has none, as plain text with an empty line between messages,
    after the token of a beginning and before that of an end, as far as the tokenizer has these.

    Args:
        tokenizer: A folder or the hub's name of the model.
        template: What is asked instead, as plain text, with {prompt} and {context} in it; None for the above.

    Attributes:
        padding: The token that fills up a batch.
        end: The token that ends an answer; None if there is none.

    Raises:
        SettingError: if there is no such tokenizer, or the template lacks {prompt}.
    """

    def __init__(self, tokenizer: str, template: str | None = None) -> None:
        from fedra_ray.model.text.sources import load_tokenizer  # imports transformers: seconds

        if template is not None and "{prompt}" not in template:
            raise SettingError("dataset.options.template", template, "must have {prompt} in it, and may have {context}")
        self._encoder = load_tokenizer(tokenizer)
        self._place = tokenizer
        self._template = template
        self._chat = template is None and bool(self._encoder.chat_template)
        self.padding = padding_of(self._encoder)
        self.end: int | None = self._encoder.eos_token_id

    def ask(self, prompt: str, context: str = "") -> Messages:
        """The message that asks for an answer."""
        if self._template is not None:
            values = {"prompt": prompt, "context": context}
            return [{"role": "user", "content": _FIELDS.sub(lambda field: values[field[1]], self._template)}]
        return [{"role": "user", "content": _BETWEEN.join(filter(None, (prompt, context)))}]

    def prompts(self, asked: Sequence[Messages]) -> list[Tokens]:
        """Tokens of prompts, after which an answer may follow."""
        return self._encoded([self._prompt(messages) for messages in asked], [self._beginning] * len(asked))

    def answered(self, conversations: Sequence[Messages]) -> list[Answered]:
        """Tokens of prompts and answers; an answer has nothing behind its first token of an end."""
        prompts = self.prompts([messages[:-1] for messages in conversations])
        answers = self._encoded([self._answer(messages) for messages in conversations])
        if not self._chat and self.end is not None:
            answers = [np.append(answer, np.int32(self.end)) for answer in answers]
        return [Answered(prompt, self._ended(answer)) for prompt, answer in zip(prompts, answers, strict=True)]

    def text(self, answer: Sequence[int]) -> str:
        """The text of an answer's tokens, without those of an end and the like."""
        return str(self._encoder.decode(list(answer), skip_special_tokens=True))

    @property
    def _beginning(self) -> list[int]:
        first = self._encoder.bos_token_id
        return [] if self._chat or first is None else [first]

    def _prompt(self, messages: Messages) -> str:
        if self._chat:
            return self._rendered(messages, add_generation_prompt=True)
        text = _BETWEEN.join(message["content"] for message in messages)
        return text if self._template is not None else text + _BETWEEN

    def _answer(self, messages: Messages) -> str:
        if not self._chat:
            return messages[-1]["content"]
        prompt, whole = self._prompt(messages[:-1]), self._rendered(messages)
        if not whole.startswith(prompt):
            reason = "its chat template does not begin a conversation with the prompt; set dataset.options.template"
            raise SettingError("backbone.model", f"hf:{self._place}", reason)
        return whole.removeprefix(prompt)

    def _rendered(self, messages: Messages, **options: Any) -> str:
        try:
            return str(self._encoder.apply_chat_template(messages, tokenize=False, **options))
        except Exception as error:  # a template may raise whatever its author meant to
            reason = f"its chat template does not take {[each['role'] for each in messages]}: {error_text(error)}"
            raise SettingError("backbone.model", f"hf:{self._place}", reason) from error

    def _ended(self, answer: Tokens) -> Tokens:
        ends = np.flatnonzero(answer == (-1 if self.end is None else self.end))
        return answer[: ends[0] + 1] if len(ends) else answer

    def _encoded(self, texts: list[str], beginnings: Sequence[list[int]] | None = None) -> list[Tokens]:
        if not texts:
            return []
        wanted = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
        ids = self._encoder(texts, **wanted)["input_ids"]
        first = beginnings or [[]] * len(ids)
        return [np.array([*begin, *own], dtype=np.int32) for begin, own in zip(first, ids, strict=True)]
