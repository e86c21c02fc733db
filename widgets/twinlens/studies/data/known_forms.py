"""Well-known forms of instruction data: a row without a prompt column, read as one with it.

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

from collections.abc import Mapping, Sequence
from typing import Any

from twinlens.errors import DataError

_CHATS = ("messages", "conversations", "prompt")
_REPLIES = ("assistant", "gpt", "chatgpt", "model", "bing", "bard")
_BETWEEN = "\n\n"


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
