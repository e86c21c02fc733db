"""Annotators behind an OpenAI-compatible endpoint, for `twinlens.labels.annotate.annotate`.

Needs the package `openai`, which is imported when an endpoint is made.
"""

from __future__ import annotations

import json
import os
from typing import Any, TypeAlias

from twinlens.contract.words import LEVELS, TASKS
from twinlens.errors import AnnotationError
from twinlens.labels.annotate import CANNOT_TELL, NONE
from twinlens.labels.questions import LabelKind, LabelQuestion

Message: TypeAlias = dict[str, str]

#: Temperatures of the paper; top_p is 0.9.
_TEMPERATURES: dict[LabelKind, float] = {"name": 1.0, "task": 0.0, "level": 0.0}
_TOP_P = 0.9
_MOST_TOKENS = 32

_INSTRUCTIONS: dict[LabelKind, str] = {
    "name": (
        "You are given words, as a JSON list. Answer with one short concept that more than half "
        f'of them share, and nothing else. Answer "{CANNOT_TELL}" if there is none.'
    ),
    "task": (
        f"You are given a concept and words that stand for it. Which of the tasks "
        f"{', '.join(TASKS)} is it used for? Answer with the tasks alone, separated by commas, "
        f'"{NONE}" if it is none of them, or "{CANNOT_TELL}".'
    ),
    "level": (
        "You are given a concept and words that stand for it. To which linguistic level does it "
        f'belong: {", ".join(LEVELS)}? Answer with one of them alone, or "{CANNOT_TELL}".'
    ),
}
# Made up for twinlens; they belong to no model.
_EXAMPLES: dict[LabelKind, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "name": (
        ("", ("monday", "friday", "tuesday", "weekend", "sunday"), "days of the week"),
        ("", ("ing", "singing", "running", "walking", "eating"), "words ending in -ing"),
        ("", ("door", "seven", "whereas", "blue", "protein"), CANNOT_TELL),
    ),
    "task": (
        ("loops and conditions", ("while", "for", "else", "elif"), "coding"),
        ("letters to friends", ("dear", "yours", "sincerely", "regards"), "writing"),
        ("French function words", ("le", "dans", "avec", "pour"), "writing, translation"),
        ("mountains", ("peak", "alps", "summit", "ridge"), NONE),
    ),
    "level": (
        ("words rhyming with cat", ("hat", "mat", "bat", "rat"), "phonology"),
        ("words ending in -ing", ("singing", "running", "walking"), "morphology"),
        ("conjunctions", ("because", "although", "while"), "syntax"),
        ("mountains", ("peak", "alps", "summit", "ridge"), "semantics"),
    ),
}


def messages(question: LabelQuestion) -> list[Message]:
    """What the endpoint is sent: the instruction, examples, and the words as data."""
    conversation = [{"role": "system", "content": _INSTRUCTIONS[question.kind]}]
    for name, words, answer in _EXAMPLES[question.kind]:
        conversation.append({"role": "user", "content": _user_text(name, words)})
        conversation.append({"role": "assistant", "content": answer})
    return [
        *conversation,
        {"role": "user", "content": _user_text(question.name, question.component.words)},
    ]


def _user_text(name: str, words: tuple[str, ...]) -> str:
    listed = json.dumps(words, ensure_ascii=False)
    return f"Concept: {json.dumps(name, ensure_ascii=False)}\nWords: {listed}" if name else listed


class Endpoint:
    """A model behind an OpenAI-compatible endpoint.

    The key comes from the environment variable ``OPENAI_API_KEY`` alone, so that it is in no
    notebook, and is never written anywhere.

    Parameters
    ----------
    model : str, optional
        By default the environment variable ``OPENAI_MODEL``.
    base_url : str, optional
        By default ``OPENAI_BASE_URL``, or else OpenAI's own. Local endpoints need no key.
    retries : int
        Tries after the first where the network, the server or a rate limit fails, each after a
        longer pause.
    timeout : float
        Seconds one try may take.

    Attributes
    ----------
    identity : str
        Names the model and the place in the cache of answers.

    Raises
    ------
    AnnotationError
        If `openai` is not installed, or model or key are missing.
    """

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        *,
        retries: int = 4,
        timeout: float = 60.0,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise AnnotationError(
                "naming through an endpoint needs openai: `pip install openai`"
            ) from error
        self._openai = openai
        self.model = model or os.environ.get("OPENAI_MODEL", "")
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        key = os.environ.get("OPENAI_API_KEY", "")
        if not self.model:
            raise AnnotationError("no model is named: give `model` or set OPENAI_MODEL")
        if not key and self.base_url is None:
            raise AnnotationError("there is no key: set OPENAI_API_KEY, or give a `base_url`")
        self._client = openai.OpenAI(
            api_key=key or "none", base_url=self.base_url, max_retries=retries, timeout=timeout
        )
        self.identity = f"{self.model} at {self.base_url or 'OpenAI'}"

    def __call__(self, question: LabelQuestion, seed: int) -> str | None:
        """The answer as text.

        Raises
        ------
        AnnotationError
            If the key is refused, or there is no answer after all retries.
        """
        errors = self._openai
        try:
            reply: Any = self._client.chat.completions.create(
                model=self.model,
                messages=messages(question),
                temperature=_TEMPERATURES[question.kind],
                top_p=_TOP_P,
                max_tokens=_MOST_TOKENS,
                seed=seed,
            )
        except (errors.AuthenticationError, errors.PermissionDeniedError) as error:
            raise AnnotationError(
                f"{self.identity!r} refused the key ({error.status_code}): set OPENAI_API_KEY to "
                "a valid one and call again, answers so far are kept"
            ) from error
        except errors.APIStatusError as error:
            reason = " ".join(str(error.message).split())[:200]
            raise AnnotationError(
                f"{self.identity!r} answered with status {error.status_code} instead of text "
                f"({reason}): "
                "check model and base URL and call again, answers so far are kept"
            ) from error
        except errors.APIConnectionError as error:
            raise AnnotationError(
                f"{self.identity!r} cannot be reached ({error}): check network and base URL and "
                "call again, answers so far are kept"
            ) from error
        except (errors.APIError, ValueError):
            return ""  # No text where text should be is nonsense, not the end of the work.
        return _text(reply)


def _text(reply: Any) -> str:
    """Text of a reply; "" where an endpoint sends something of another form."""
    try:
        content = reply.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        return ""
    return content if isinstance(content, str) else ""
