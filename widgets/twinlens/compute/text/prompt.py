"""From what a person writes, a text or a chat, to the tokens both models read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinlens.compute.models.models import Models
from twinlens.compute.text.arguments import checked_text, kind_of, read_length
from twinlens.compute.text.chat import (
    Chat,
    Content,
    Message,
    Spans,
    locate,
    plain,
    read_messages,
    rendered,
)
from twinlens.compute.text.cutting import Place, cut, label, pieces
from twinlens.contract.manifest import Token
from twinlens.contract.words import SIDES, Segment, Side
from twinlens.errors import PromptError
from twinlens.traces.marks import FIXED, span_tokens


@dataclass(frozen=True)
class Prompt:
    """The text both models read, template included, and its tokens.

    Attributes
    ----------
    parts : tuple of Content
        What a person wrote of it, and where that stands.
    settings : dict
        Template and messages as plain JSON, for the manifest.
    front : int
        Tokens the tokenizer put in front of the text.
    note : str
        What is to be said about tokens that only one model knows, else "".
    """

    text: str
    tokens: tuple[Token, ...]
    parts: tuple[Content, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    front: int = 0
    note: str = ""

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return [token.id for token in self.tokens]


def read_prompt(
    pair: Models,
    text: str | Sequence[Message],
    *,
    instruction: Spans = None,
    context: Spans = None,
    template: bool | str | None = None,
    tools: Sequence[Any] | None = None,
    chat: Mapping[str, Any] | None = None,
) -> Prompt:
    """Render a prompt, cut it into tokens and mark its segments.

    Which tokens a span stands for is said at `twinlens.traces.marks.span_tokens`.

    Parameters
    ----------
    text : str or list of messages
        What the user writes; messages are ``{"role": ..., "content": ...}``.
    instruction, context : Spans, optional
        Parts of `text`, see `twinlens.compute.text.chat.Span`.
    template : bool or {"tuned", "base", "plain"}, optional
        Whose chat template is used, for both models: True is the tuned one's, False none. By
        default messages have tuned's and a text none.
    tools : sequence, optional
        Tools that the template describes.
    chat : mapping, optional
        Settings of the template, such as ``{"enable_thinking": False}``.

    Raises
    ------
    PromptError
        If the prompt is empty, a span is not in it, the template is missing, refuses or changes
        it, or the two tokenizers cut it differently.
    """
    is_text = isinstance(text, str) or not _is_list(text)
    whose = _whose(template, is_text=is_text)
    if is_text:
        checked_text(text, "the prompt", PromptError)
        messages = [{"role": "user", "content": text}]
        if not text.strip():  # type: ignore[union-attr]
            raise PromptError("the prompt is empty: write what the models should read")
    else:
        messages = read_messages(list(text))
    written = _rendered(pair, messages, whose, tools, chat)
    marked = {
        name: locate(written.parts, spans, name, chat=not is_text)
        for name, spans in (("instruction", instruction), ("context", context))
    }
    settings = written.settings
    if whose is not None or not is_text:
        settings = settings | {
            "messages": [
                {"role": part.role, "start": start, "end": end}
                for part in written.parts
                for start, end in part.spans()
            ]
        }
    made = cut(pair, written.text, bare=whose is None)
    special = set(pair.tokenizers["tuned"].all_special_ids)
    own = [span for part in written.parts for span in part.spans()]
    display = pieces(pair.tokenizers["tuned"])
    tokens = []
    for number, (identifier, touched, place) in enumerate(
        zip(made.ids, made.touched, made.places, strict=True)
    ):
        segment: Segment = "other"
        if number < made.front or identifier in special:
            segment = "special"
        elif whose is not None and not _inside(touched, own):
            segment = "template"
        piece = display(identifier)
        if segment != "special":
            piece = label(piece, written.text[slice(*place)])
        tokens.append(Token(identifier, piece, *place, segment))
    by_precedence: tuple[Segment, Segment] = ("context", "instruction")  # the last one counts
    for name in by_precedence:
        for number in span_tokens(written.text, tokens, marked[name]):
            if tokens[number].segment not in FIXED:
                tokens[number] = dataclasses.replace(tokens[number], segment=name)
    settings = {"template": {"tuned": True, None: False}.get(whose, whose), **settings}
    note = _note(pair, made.ids)
    return Prompt(written.text, tuple(tokens), written.parts, settings, made.front, note)


def check_marked(
    text: str | Sequence[Message], *, instruction: Spans = None, context: Spans = None
) -> None:
    """Make sure that marked parts are in a prompt, before there are models to read it.

    Raises
    ------
    PromptError
        If one of them is not, or the prompt has another form.
    """
    chat = not isinstance(text, str)
    messages = read_messages(list(text)) if chat else [{"role": "user", "content": text}]
    parts = plain(messages).parts
    for name, spans in (("instruction", instruction), ("context", context)):
        locate(parts, spans, name, chat=chat)


def check_length(pair: Models, prompt: Prompt, max_new_tokens: Any) -> int:
    """Make sure that prompt and generated answer fit into the models' context.

    Returns
    -------
    int
        The longest answer.

    Raises
    ------
    PromptError
        If they do not fit; says how many tokens there are and how many fit.
    AnswerError
        If the longest answer is no whole number, or no answer token is asked for.
    """
    number = read_length(max_new_tokens)
    limit, length = pair.positions, len(prompt.tokens)
    if limit is None or length + number <= limit:
        return number
    said = (
        f"the prompt has {length} tokens and max_new_tokens is {number}, but the models read at "
        f"most {limit}"
    )
    ways = []
    if length < limit:
        ways.append(f"lower max_new_tokens to {limit - length}")
    if number < limit:
        ways.append(f"shorten the prompt to {limit - number} tokens")
    both = f"shorten the prompt to fewer than {limit} tokens, and lower max_new_tokens"
    raise PromptError(f"{said}: {' or '.join(ways) or both}")


def _is_list(prompt: Any) -> bool:
    return isinstance(prompt, Sequence) and not isinstance(prompt, (str, bytes))


def _whose(template: Any, *, is_text: bool) -> Side | None:
    """The side whose template is used."""
    if template is None:
        return None if is_text else "tuned"
    if isinstance(template, bool):
        return "tuned" if template else None
    if isinstance(template, str):
        if template in ("tuned", "base"):
            return "tuned" if template == "tuned" else "base"
        if template == "plain":
            return None
    names = 'True or "tuned", "base", and False or "plain" for none'
    if isinstance(template, str) and template == "own":
        raise PromptError(
            'template="own", a chat template for each model, is for twinlens.explore alone: here '
            f"both read one prompt, and template= is {names}"
        )
    raise PromptError(f"there is no template {template!r}: template= is {names}")


def _rendered(
    pair: Models,
    messages: Sequence[Message],
    whose: Side | None,
    tools: Sequence[Any] | None,
    chat: Mapping[str, Any] | None,
) -> Chat:
    if tools is not None and not _is_list(tools):
        raise PromptError(f"tools= is a list of functions or JSON schemas, but is {kind_of(tools)}")
    if whose is not None:
        return rendered(pair.tokenizers[whose], messages, whose=whose, tools=tools, chat=chat)
    if not isinstance(chat, Mapping | None):
        raise PromptError(f"chat= holds settings of the chat template by name, not {chat!r}")
    if tools or chat:
        raise PromptError(
            f"{'tools' if tools else 'chat'}= needs a chat template to read it: set template=True"
        )
    return plain(messages)


def _note(pair: Models, ids: Sequence[int]) -> str:
    """What each model reads for tokens that it, or its tokenizer, does not know."""
    said = []
    show = pieces(pair.tokenizers["tuned"])
    for side in SIDES:
        rows, known = pair.rows(side), pair.known_ids(side)
        absent = ", ".join(show(i) for i in dict.fromkeys(ids) if i >= rows)
        unused = ", ".join(show(i) for i in dict.fromkeys(ids) if known <= i < rows)
        if absent:
            stand_in = pieces(pair.tokenizers[side])(pair.stand_in(side))
            said.append(f"{side} does not know {absent} and reads {stand_in} in their place.")
        if unused:
            said.append(
                f"{side}'s tokenizer does not know {unused}: the embedding that {side} has there "
                "may never have been trained."
            )
    return " ".join(said)


def _inside(token: Place, spans: Sequence[Place]) -> bool:
    """Whether a token begins in one of the spans, or holds a character of it."""
    return any(start < max(token[1], token[0] + 1) and token[0] < end for start, end in spans)
