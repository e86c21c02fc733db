"""Chats: messages in a chat template, and where each of their texts stands in the result.

Nothing is searched for. The template is rendered a second time with marks in the texts' places;
where a mark comes out is where the text stands, whatever it says. What a template does to blanks
around a text it does to those around the mark too. Only if the two renderings agree in everything
else is the place believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from transformers import PreTrainedTokenizerFast

from twinlens.compute.text.arguments import checked_text, kind_of
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
