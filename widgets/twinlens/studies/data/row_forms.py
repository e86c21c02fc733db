"""Forms of rows: marked parts of a prompt, that is annotations and widening; well-known forms.

The published tables need three small rules of the authors, each kept by name: how an annotation
is written (`parse_annotation`), how a marked fragment is widened to whole sentences (`widen`), and
which tokens a span stands for (`twinlens.traces.marks.span_tokens`).

Well-known forms of instruction data are rows without a prompt column, read as one with it:

=====================================  ===========================================================
``instruction, input, output``         Alpaca; Dolly's ``instruction, context, response``: the
                                       prompt is the instruction, an empty line, and the input,
                                       marked as instruction and context
``messages``, ``conversations``        a chat (``role, content`` or ShareGPT's ``from, value``);
                                       also as a list in ``prompt``: the prompt is the texts before
                                       the first reply, with empty lines between; later turns are
                                       left out
=====================================  ===========================================================

The reply is the answer, which a study explains with ``response="given"`` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twinlens.errors import DataError, PromptError
from twinlens.traces.marks import CharacterSpan

_SENTENCE_END = re.compile(r"(?<=[.!?:])\s")
_BETWEEN_FRAGMENTS = "|||"
_LABEL = "Input:"
_CHATS = ("messages", "conversations", "prompt")
_REPLIES = ("assistant", "gpt", "chatgpt", "model", "bing", "bard")
_BETWEEN = "\n\n"


def parse_annotation(text: str) -> tuple[list[str], list[str]]:
    """Split an annotation ``fragment|||fragment&&&context|||context`` into its fragments.

    Parameters
    ----------
    text : str

    Returns
    -------
    instruction, context : lists of str
        Empty fragments left out; blanks inside and around are kept.
    """
    instruction, _, context = text.partition("&&&")
    return _fragments(instruction), _fragments(context)


def _fragments(text: str) -> list[str]:
    return [piece for piece in text.split(_BETWEEN_FRAGMENTS) if piece]


def find_span(prompt: str, text: str) -> CharacterSpan:
    """First place of a text in the prompt.

    Raises
    ------
    PromptError
        If it is empty or not there.
    """
    start = prompt.find(text) if text else -1
    if start < 0:
        raise PromptError(
            f"{_short(text)} is marked but does not occur in the prompt: "
            "mark text as it stands there"
        )
    return start, start + len(text)


def sentences(prompt: str) -> list[CharacterSpan]:
    """Sentences of a prompt: its lines, split at white space after ``.``, ``!``, ``?``, ``:``."""
    spans: list[CharacterSpan] = []
    start = 0
    for line in prompt.split("\n"):
        place = start
        for piece in _SENTENCE_END.split(line):
            spans.append((place, place + len(piece)))
            place += len(piece) + 1
        start += len(line) + 1
    return spans


def widen(
    prompt: str, fragments: Iterable[str], *, published_quirk: bool = True
) -> list[CharacterSpan]:
    """Widen marked fragments to whole sentences, as the published analysis does.

    Every fragment is split into lines and sentences; each piece becomes the first sentence of
    the prompt that contains it, without a leading ``Input:``.

    Parameters
    ----------
    fragments : iterable of str
        Marked text, in any order.
    published_quirk : bool
        In the published analysis an empty piece (a fragment that ends in ``": "`` leaves one) is
        contained in everything and so adds the first sentence of the prompt. True repeats that,
        False ignores empty pieces.

    Returns
    -------
    list of CharacterSpan
        Each sentence once, in the order of the prompt.

    Raises
    ------
    PromptError
        If no sentence contains a piece.
    """
    places = [(span, prompt[slice(*span)]) for span in sentences(prompt)]
    chosen: set[CharacterSpan] = set()
    lines = (line for fragment in fragments for line in fragment.split("\n") if line)
    for line in lines:
        for piece in _SENTENCE_END.split(line):
            if not piece.strip() and not published_quirk:
                continue
            span = next((span for span, text in places if piece.strip() in text), None)
            if span is None:
                raise PromptError(
                    f"{_short(piece)} is marked but is in no sentence of the prompt: "
                    "mark text as it stands there"
                )
            chosen.add(_without_label(prompt, span))
    return sorted(span for span in chosen if span[0] < span[1])


def _without_label(prompt: str, span: CharacterSpan) -> CharacterSpan:
    text = prompt[slice(*span)]
    rest = text.removeprefix(_LABEL).lstrip() if text.startswith(_LABEL) else text
    return span[1] - len(rest), span[1]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def known_form(record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Which form a row without a prompt has, in words, and the row with prompt and answer.

    Raises
    ------
    DataError
        If it is a chat without texts, or one that begins with a reply.
    """
    if isinstance(record.get("prompt"), str):
        return None
    for name in _CHATS:
        messages = record.get(name)
        if isinstance(messages, Sequence) and not isinstance(messages, str):
            return (
                f"the column {name!r} is read as a chat: the texts before the first reply are the "
                "prompt, later turns are left out",
                {**record, **_chat(messages)},
            )
    instruction = record.get("instruction")
    if isinstance(instruction, str) and instruction.strip() and record.get("prompt") is None:
        name, text = next(
            ((name, record[name]) for name in ("input", "context") if record.get(name)), ("", "")
        )
        return (
            "the columns are read as Alpaca's: the prompt is the instruction"
            + (f", an empty line, and the {name}" if name else ""),
            {**record, **_alpaca(record, instruction, str(text))},
        )
    return None


def _alpaca(record: Mapping[str, Any], instruction: str, text: str) -> dict[str, Any]:
    prompt = instruction + (_BETWEEN + text if text else "")
    start = len(prompt) - len(text)
    answer = next((record[name] for name in ("output", "response") if record.get(name)), None)
    return {
        "prompt": prompt,
        "instruction": [[0, len(instruction)]],
        "context": [[start, len(prompt)]] if text else None,
        "answer": record.get("answer") or answer,
    }


def _chat(messages: Sequence[Any]) -> dict[str, Any]:
    before: list[str] = []
    answer = None
    for number, message in enumerate(messages, 1):
        role, text = _message(number, message)
        if role in _REPLIES:
            answer = text
            break
        before.append(text)
    prompt = _BETWEEN.join(text for text in before if text.strip())
    if not prompt:
        raise DataError("its chat has no text before the first reply: write the prompt there")
    return {"prompt": prompt, "answer": answer or None}


def _message(number: int, message: Any) -> tuple[str, str]:
    if isinstance(message, Mapping):
        role = message.get("role", message.get("from"))
        content = message.get("content", message.get("value"))
        if isinstance(content, Sequence) and not isinstance(content, str):
            parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
            texts = [part for part in parts if isinstance(part, str)]
            content = "".join(texts) if len(texts) == len(parts) else None
        if isinstance(role, str) and isinstance(content, str):
            return role.lower(), content
    raise DataError(
        f"message {number} of its chat is no text with its role: write "
        '{"role": "user", "content": "..."}'
    )
