"""Chats: messages in a chat template, and where each of their texts stands in the result.

Nothing is searched for. The template is rendered a second time with marks in the texts' places;
where a mark comes out is where the text stands, whatever it says. What a template does to blanks
around a text it does to those around the mark too. Only if the two renderings agree in everything
else is the place believed. Marked parts of a prompt are looked up in these places.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from transformers import PreTrainedTokenizerFast

from twinlens.compute.text.arguments import checked_text, kind_of, whole_number
from twinlens.errors import PromptError

#: ``{"role": ..., "content": ...}`` with a text, or a list of ``{"type": "text", "text": ...}``.
Message: TypeAlias = Mapping[str, Any]

#: What `apply_chat_template` takes that is ours to say, or has an argument of its own.
_OURS = {
    "conversation",
    "messages",
    "tools",
    "tokenize",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
}
#: A part of the prompt: its text, or its ``(start, end)`` in code points. Of messages: a text (its
#: first occurrence), ``(message, text)``, ``(message, start, end)``, or the number of a message.
Span: TypeAlias = str | int | tuple[int, int] | tuple[int, str] | tuple[int, int, int]
#: One of these or several.
Spans: TypeAlias = Span | Sequence[Span] | None


@dataclass(frozen=True)
class Content:
    """A text that a person wrote, and where it stands in what the models read.

    Attributes
    ----------
    message : int
        Its message, from 0.
    role : str
        Whose message it is, such as ``system`` or ``user``.
    places : tuple of int
        What to add to a code point of it to have that of the whole; one for each time that the
        template writes it.
    """

    message: int
    role: str
    text: str
    places: tuple[int, ...]

    def spans(self) -> list[tuple[int, int]]:
        """Code points of the whole that it takes up, without blanks around it."""
        first = len(self.text) - len(self.text.lstrip())
        last = len(self.text.rstrip())
        return [(place + first, place + last) for place in self.places if first < last]


@dataclass(frozen=True)
class Chat:
    """Messages rendered: the text, its parts, and the settings it depends on as plain JSON."""

    text: str
    parts: tuple[Content, ...]
    settings: dict[str, Any]


def read_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Check messages.

    Raises
    ------
    PromptError
        If one of them has another form, or there is no text in any.
    """
    if not messages:
        raise PromptError("the prompt is an empty list: give messages with role and content")
    read: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            what = "a text" if isinstance(message, str) else kind_of(message)
            raise PromptError(
                f"the prompt is a list whose entry {number} is {what}: a prompt is one text, or a "
                'list of messages {"role": ..., "content": ...}; call once for each prompt'
            )
        if not isinstance(message.get("role"), str):
            raise PromptError(
                f"message {number} has no role: write it as "
                '{"role": "user", "content": "..."} (or "system", "assistant")'
            )
        for _ in _texts(number, message):
            pass
        read.append(dict(message))
    if not any(text.strip() for i, m in enumerate(read) for text in _texts(i, m)):
        raise PromptError("the prompt is empty: write what the models should read")
    return read


def plain(messages: Sequence[Message]) -> Chat:
    """Messages without a template: their texts, an empty line between them."""
    text, parts = "", list[Content]()
    for number, message in enumerate(messages):
        for content in _texts(number, message):
            text += "\n\n" if text else ""
            parts.append(Content(number, message["role"], content, (len(text),)))
            text += content
    return Chat(text, tuple(parts), {})


def rendered(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Message],
    *,
    whose: str,
    tools: Sequence[Any] | None = None,
    chat: Mapping[str, Any] | None = None,
) -> Chat:
    """Messages in a chat template.

    Parameters
    ----------
    whose : str
        Whose template it is, for messages of errors.
    tools : sequence, optional
        Tools the template describes, as `apply_chat_template` takes them.
    chat : mapping, optional
        Settings of the template, such as ``enable_thinking``.

    Raises
    ------
    PromptError
        If there is no template, it refuses the messages, or it changes their texts, so that
        nobody could say where they are.
    """
    settings = {"add_generation_prompt": True, **_settings(tokenizer, whose, chat)}
    given = list(tools) if tools is not None else None
    texts = [text for i, message in enumerate(messages) for text in _texts(i, message)]

    def render(contents: Sequence[str], listed: bool | None) -> str:
        made = tokenizer.apply_chat_template(
            _with_texts(messages, contents, listed),
            tokenize=False,
            tools=given,
            **settings,
        )
        return str(made)

    reason = ""
    # Some templates take a text, others a list of parts: what was given goes first.
    for listed in (None, True, False):
        try:
            placed = _placed(lambda contents, form=listed: render(contents, form), texts)  # type: ignore[misc]
        except PromptError as error:
            reason = reason or str(error)
        except Exception as error:  # a template is a program, and may raise whatever it likes
            said = " ".join(str(error).split()) or type(error).__name__
            reason = reason or f"the chat template of {whose} refuses these messages: {said}"
        else:
            break
    else:
        raise PromptError(reason)
    text, places = placed
    parts, number = list[Content](), 0
    for i, message in enumerate(messages):
        for content in _texts(i, message):
            lead = len(content) - len(content.lstrip())
            parts.append(
                Content(i, message["role"], content, tuple(p - lead for p in places[number]))
            )
            number += 1
    template = tokenizer.get_chat_template(settings.get("chat_template"), given)
    recorded = {"chat_template": str(template)}
    recorded |= {"chat": _plain_json(dict(chat), "chat")} if chat else {}
    recorded |= {"tools": _plain_json([_tool(tool) for tool in given], "tools")} if given else {}
    return Chat(text, tuple(parts), recorded)


def _placed(
    render: Callable[[Sequence[str]], str], texts: Sequence[str]
) -> tuple[str, list[list[int]]]:
    """The rendering, and in it the first code point of each text that is no blank."""
    real = render(texts)
    cores = [text.strip() for text in texts]
    leads = [len(text) - len(text.lstrip()) for text in texts]
    mark = _unused(real + "".join(texts))
    # In place of the texts, which is right for whatever they say; then in front of them and behind
    # them, for templates that look into a text.
    for mode in ("instead", "before", "behind"):
        marks = [
            {"instead": mark(i), "before": mark(i) + core, "behind": core + mark(i)}[mode]
            for i, core in enumerate(cores)
        ]
        marked = render(
            [
                text[: leads[i]] + marks[i] + text[leads[i] + len(cores[i]) :] if cores[i] else text
                for i, text in enumerate(texts)
            ]
        )
        places: list[list[int]] = [[] for _ in texts]
        first, *rest = re.split(mark(r"(\d+)"), marked)
        text = first
        for number, literal in zip(map(int, rest[::2]), rest[1::2], strict=True):
            core = cores[number]
            places[number].append(len(text) - (len(core) if mode == "behind" else 0))
            text += (core if mode == "instead" else "") + literal
        lost = [i for i, core in enumerate(cores) if core and not places[i]]
        if (
            text == real
            and not lost
            and all(
                p >= 0 and text.startswith(cores[i], p)
                for i, starts in enumerate(places)
                for p in starts
            )
        ):
            return real, places
    said = "leaves out" if lost else "changes"
    changed = [i for i, core in enumerate(cores) if core not in real]
    which = texts[(lost or changed or [0])[0]]
    short = which.strip() if len(which) <= 40 else which.strip()[:37] + "..."
    raise PromptError(
        f"the chat template {said} the text of these messages ({short!r}), so nobody could say "
        "where it stands: write the messages as the template writes them, or use template=False"
    )


def _unused(text: str) -> Callable[[int | str], str]:
    """Marks made of characters for private use that a text does not hold."""
    free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
    left, right = next(free), next(free)
    return lambda number: f"{left}{number}{right}"


def _texts(number: int, message: Message) -> Iterator[str]:
    """Texts of a message, checked."""
    content = message.get("content")
    if content is None:
        return  # an assistant that calls a tool may say nothing
    if isinstance(content, str):
        yield checked_text(content, f"message {number}", PromptError)
        return
    if not isinstance(content, Sequence):
        raise PromptError(f"the content of message {number} is {kind_of(content)}: write a text")
    for entry in content:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
            kind = entry.get("type") if isinstance(entry, Mapping) else kind_of(entry)
            raise PromptError(
                f"message {number} holds a part that is {kind}, but the models read text alone: "
                'give parts as {"type": "text", "text": ...}'
            )
        yield checked_text(entry["text"], f"message {number}", PromptError)


def _with_texts(
    messages: Sequence[Message], texts: Sequence[str], listed: bool | None
) -> list[dict[str, Any]]:
    """The messages with other texts, as one text or as lists of parts; None: as they are."""
    left = iter(texts)
    made = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            text = next(left)
            content = [{"type": "text", "text": text}] if listed else text
        elif content is not None:
            content = [{**entry, "text": next(left)} for entry in content]
            if listed is False:
                content = "\n".join(entry["text"] for entry in content)
        made.append({**message, "content": content} if "content" in message else dict(message))
    return made


def _settings(
    tokenizer: PreTrainedTokenizerFast, whose: str, chat: Mapping[str, Any] | None
) -> dict[str, Any]:
    if chat is not None and (
        not isinstance(chat, Mapping) or not all(isinstance(name, str) for name in chat)
    ):
        raise PromptError(
            'chat= holds settings of the chat template by name, such as {"enable_thinking": False}'
            f", not {chat!r}"
        )
    settings = dict(chat or {})
    taken = sorted(_OURS & set(settings))
    if taken:
        raise PromptError(
            f"chat= cannot set {', '.join(taken)}: it holds settings that the chat template reads, "
            'such as {"enable_thinking": False}'
        )
    if settings.get("continue_final_message"):
        settings = {"add_generation_prompt": False, **settings}
    template = tokenizer.chat_template
    if not template and "chat_template" not in settings:
        raise PromptError(
            f"the tokenizer of {whose} has no chat template: use template=False, or give one as "
            'chat={"chat_template": ...}'
        )
    if isinstance(template, dict) and "chat_template" not in settings and "default" not in template:
        raise PromptError(
            f"the chat template of {whose} exists only as {', '.join(sorted(template))}: choose "
            f'one with chat={{"chat_template": "{min(template)}"}}'
        )
    return settings


def _tool(tool: Any) -> Any:
    from transformers.utils.chat_template_utils import get_json_schema

    return get_json_schema(tool) if callable(tool) else tool


def _plain_json(value: Any, name: str) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}= cannot be recorded: use plain JSON values ({error})") from error


def locate(parts: Sequence[Content], spans: Any, name: str, *, chat: bool) -> list[tuple[int, int]]:
    """Code points ``[start, end)`` of the whole text that marked parts stand at.

    Parameters
    ----------
    parts : sequence of Content
        What was written, with its places.
    spans : Span, sequence of Span, or None
    name : str
        What they are called, for messages of errors.
    chat : bool
        Whether the prompt is a list of messages, which spans may name by number.

    Raises
    ------
    PromptError
        If one of them is not in the prompt, or of another form.
    """
    return [
        (start + place, end + place)
        for span in _several(spans, name, chat=chat)
        for part, start, end in _found(parts, span, name, chat=chat)
        for place in part.places
    ]


def _several(spans: Any, name: str, *, chat: bool) -> list[Any]:
    """Spans one by one; of numbers alone, a list is several messages and a pair is one span."""
    if spans is None:
        return []
    if isinstance(spans, str) or whole_number(spans) is not None:
        return [spans]
    if not isinstance(spans, Sequence):
        raise _form(spans, name, chat=chat)
    numbers = [whole_number(entry) is not None for entry in spans]
    if isinstance(spans, tuple) and chat and numbers[:1] == [True]:
        return [spans]
    if all(numbers) and len(spans) == 2 and not chat:
        return [tuple(spans)]
    return list(spans)


def _found(
    parts: Sequence[Content], span: Any, name: str, *, chat: bool
) -> list[tuple[Content, int, int]]:
    """Parts that a span lies in, and its code points in each."""
    if isinstance(span, str):
        checked_text(span, f"{name}=", PromptError)
        return [_first(parts, span)]
    entries = list(span) if isinstance(span, Sequence) else [span]
    numbers = [whole_number(entry) for entry in entries]
    if not chat:
        if len(entries) != 2 or None in numbers:
            raise _form(span, name, chat=chat)
        return [_between(parts[0], numbers, "the prompt")]
    if not entries or numbers[0] is None:
        raise _form(span, name, chat=chat)
    count = 1 + max((part.message for part in parts), default=-1)
    message = numbers[0] + (count if numbers[0] < 0 else 0)
    of = [part for part in parts if part.message == message]
    if not of:
        raise PromptError(
            f"{name}= marks message {numbers[0]}, but there is no text in a message of that "
            f"number: messages are numbered 0 to {count - 1}"
        )
    if len(entries) == 1:
        return [(part, 0, len(part.text)) for part in of]
    if len(entries) == 2 and isinstance(entries[1], str):
        checked_text(entries[1], f"{name}=", PromptError)
        return [_first(of, entries[1])]
    if len(entries) == 3 and None not in numbers and len(of) == 1:
        return [_between(of[0], numbers[1:], f"message {message}")]
    raise _form(span, name, chat=chat)


def _first(parts: Sequence[Content], span: str) -> tuple[Content, int, int]:
    for part in parts:
        start = part.text.find(span) if span.strip() else -1
        if start >= 0:
            return part, start, start + len(span)
    nearest = _nearest(" ".join(part.text for part in parts), span)
    raise PromptError(f"the span {span!r} is not in the prompt; the nearest match is {nearest!r}")


def _between(part: Content, span: Sequence[Any], where: str) -> tuple[Content, int, int]:
    start, end = span
    if not 0 <= start < end <= len(part.text):
        raise PromptError(
            f"the span ({start}, {end}) is not in {where}, which has {len(part.text)} characters"
        )
    return part, start, end


def _form(span: Any, name: str, *, chat: bool) -> PromptError:
    forms = (
        "a text, (message, text), (message, start, end) or the number of a message"
        if chat
        else "a text or (start, end) in characters"
    )
    return PromptError(f"{name}= is {forms}, or a list of these, not {span!r}")


def _nearest(text: str, span: str) -> str:
    words = list(re.finditer(r"\S+", text))
    count = max(1, min(len(span.split()), len(words)))
    windows = [
        text[words[i].start() : words[i + count - 1].end()] for i in range(len(words) - count + 1)
    ]
    return difflib.get_close_matches(span, windows, n=1, cutoff=0.0)[0]
