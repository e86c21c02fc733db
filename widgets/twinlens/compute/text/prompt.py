"""From a text and its marked spans to the tokens both models read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from twinlens.compute.models.models import Models
from twinlens.compute.text.pieces import pieces
from twinlens.contract.manifest import Token
from twinlens.contract.words import SIDES, Segment
from twinlens.errors import AnswerError, PromptError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


#: A part of the prompt: its text, or its ``(start, end)`` in code points; or several of these.
Span: TypeAlias = str | tuple[int, int]
Spans: TypeAlias = Span | Sequence[Span] | None


@dataclass(frozen=True)
class Prompt:
    """The text both models read, template included, and its tokens."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return [token.id for token in self.tokens]


def read_prompt(
    pair: Models,
    text: str,
    *,
    instruction: Spans = None,
    context: Spans = None,
    template: bool = False,
) -> Prompt:
    """Render a prompt, cut it into tokens and mark its segments.

    A token belongs to a span if it covers at least one character of it that is not blank.

    Parameters
    ----------
    pair : Models
    text : str
        What the user writes.
    instruction, context : str, (start, end), or a sequence of these, optional
        Parts of `text`; a string means its first occurrence.
    template : bool
        Put the text into the tuned model's chat template; both models read the result.

    Raises
    ------
    PromptError
        If the prompt is empty, a span is not in it, there is no template, or the two tokenizers
        cut it differently.
    """
    if not text.strip():
        raise PromptError("the prompt is empty: write what the models should read")
    rendered, shift = _render(pair.tokenizers["tuned"], text) if template else (text, 0)
    begin = shift + len(text) - len(text.lstrip())
    written = range(begin, begin + len(text.strip())) if template else range(len(text))
    marked = {
        "instruction": [_shifted(_locate(text, s), shift) for s in _several(instruction)],
        "context": [_shifted(_locate(text, s), shift) for s in _several(context)],
    }
    encoded = {
        side: pair.tokenizers[side](
            rendered,
            add_special_tokens=not template,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        for side in SIDES
    }
    base, tuned = (list(encoded[side]["input_ids"]) for side in SIDES)
    if base != tuned:
        raise PromptError(
            f"the two tokenizers cut this prompt differently ({len(base)} tokens in base, "
            f"{len(tuned)} in tuned): give load_pair one tokenizer= for both"
        )
    if max(tuned) >= pair.vocabulary:
        raise PromptError("the prompt contains a token that only one of the two models knows")
    display = pieces(pair.tokenizers["tuned"])
    special_ids = set(pair.tokenizers["tuned"].all_special_ids)
    tokens = []
    for identifier, span, added in zip(
        tuned,
        encoded["tuned"]["offset_mapping"],
        encoded["tuned"]["special_tokens_mask"],
        strict=True,
    ):
        piece, span = _fit(display(identifier), span, rendered)
        outside = template and span[0] not in written
        segment: Segment = "other"
        if added or identifier in special_ids:
            segment = "special"
        elif outside:
            segment = "template"
        elif any(_covers(rendered, span, part) for part in marked["instruction"]):
            segment = "instruction"
        elif any(_covers(rendered, span, part) for part in marked["context"]):
            segment = "context"
        tokens.append(Token(identifier, piece, *span, segment))
    return Prompt(rendered, tuple(tokens))


def check_length(pair: Models, prompt: Prompt, max_new_tokens: int) -> None:
    """Make sure that prompt and answer fit into the models' context.

    Raises
    ------
    PromptError
        If they do not; says how many tokens there are and how many fit.
    AnswerError
        If no answer token is asked for.
    """
    if max_new_tokens < 1:
        raise AnswerError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    limit, length = pair.positions, len(prompt.tokens)
    if limit is not None and length + max_new_tokens > limit:
        raise PromptError(
            f"the prompt has {length} tokens and max_new_tokens is {max_new_tokens}, but the "
            f"models read at most {limit}: shorten the prompt to {max(limit - max_new_tokens, 0)} "
            f"tokens or lower max_new_tokens"
        )


def encode_answer(pair: Models, prompt: Prompt, text: str) -> list[int]:
    """Token ids of a given answer, cut as it would be cut right after the prompt.

    Raises
    ------
    AnswerError
        If it is empty.
    """
    if not text.strip():
        raise AnswerError("the given response is empty: write at least one word")
    tokenizer = pair.tokenizers["tuned"]
    joined: list[int] = tokenizer.encode(prompt.text + text, add_special_tokens=False)
    # Special tokens in front are added to the prompt alone, so compare what follows them.
    prompt_ids = [token.id for token in prompt.tokens if token.end > token.start]
    if joined[: len(prompt_ids)] == prompt_ids and len(joined) > len(prompt_ids):
        return joined[len(prompt_ids) :]
    alone: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return alone


def answer_tokens(
    tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], before: int
) -> tuple[tuple[Token, ...], str]:
    """Tokens of an answer and its text, which leaves special tokens out.

    Parameters
    ----------
    ids : sequence of int
    before : int
        Last token of the prompt: some tokenizers drop a blank at the start of a text.
    """
    special = set(tokenizer.all_special_ids)
    display = pieces(tokenizer)
    lead = len(tokenizer.decode([before]))
    plain: list[int] = []
    text, tokens = "", list[Token]()
    for identifier in ids:
        start = len(text.rstrip("\ufffd"))
        if identifier in special:
            tokens.append(Token(identifier, display(identifier), len(text), len(text), "special"))
            continue
        plain.append(identifier)
        text = str(tokenizer.decode([before, *plain]))[lead:]
        piece = display(identifier)
        tokens.append(Token(identifier, piece or text[start:], start, max(start, len(text))))
    return tuple(tokens), text


def _fit(piece: str, span: tuple[int, int], text: str) -> tuple[str, tuple[int, int]]:
    """Make piece and span agree on the blank in front.

    Some tokenizers leave it out of the span, others put one before the text that is not in it.
    """
    start, end = span
    blanks = len(piece) - len(piece.lstrip())
    if start == end or not blanks:
        return piece, (start, end)
    inside = text[start:end]
    missing = blanks - (len(inside) - len(inside.lstrip()))
    while missing > 0 and start > 0 and text[start - 1].isspace():
        start, missing = start - 1, missing - 1
    return piece[max(missing, 0) :], (start, end)


def _render(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[str, int]:
    """The text in the chat template, and what to add to an offset of the text."""
    if not tokenizer.chat_template:
        raise PromptError("the tuned model's tokenizer has no chat template: use template=False")
    rendered = str(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
    )
    start = rendered.find(text.strip())
    if start < 0:
        raise PromptError("the chat template changes the prompt's text, so it cannot be marked")
    return rendered, start - (len(text) - len(text.lstrip()))


def _several(spans: Spans) -> list[Span]:
    if spans is None:
        return []
    if isinstance(spans, str):
        return [spans]
    if len(spans) == 2 and all(isinstance(number, int) for number in spans):
        return [(int(spans[0]), int(spans[1]))]  # type: ignore[arg-type]
    return list(spans)  # type: ignore[arg-type]


def _locate(text: str, span: Span) -> tuple[int, int]:
    if not isinstance(span, str):
        start, end = span
        if not 0 <= start < end <= len(text):
            raise PromptError(
                f"the span ({start}, {end}) is not in the prompt, which has {len(text)} characters"
            )
        return start, end
    start = text.find(span) if span.strip() else -1
    if start < 0:
        raise PromptError(
            f"the span {span!r} is not in the prompt; the nearest match is {_nearest(text, span)!r}"
        )
    return start, start + len(span)


def _nearest(text: str, span: str) -> str:
    words = list(re.finditer(r"\S+", text))
    count = max(1, min(len(span.split()), len(words)))
    windows = [
        text[words[i].start() : words[i + count - 1].end()] for i in range(len(words) - count + 1)
    ]
    return difflib.get_close_matches(span, windows, n=1, cutoff=0.0)[0]


def _shifted(span: tuple[int, int], by: int) -> tuple[int, int]:
    return span[0] + by, span[1] + by


def _covers(text: str, token: tuple[int, int], span: tuple[int, int]) -> bool:
    return bool(text[max(token[0], span[0]) : min(token[1], span[1])].strip())
