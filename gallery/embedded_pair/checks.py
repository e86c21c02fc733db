"""Strict checks of answers. A check is plain data, so the evaluation set can carry it in a file."""

from __future__ import annotations

import re

Check = dict[str, object]


def exact(*answers: str) -> Check:
    """Accept exactly one of the given answers."""
    return {"kind": "exact", "answers": list(answers)}


def members(pool: list[str], count: int) -> Check:
    """Accept a list of `count` different words of `pool`."""
    return {"kind": "members", "pool": pool, "count": count}


def mentions(words: list[str], sentences: tuple[int, int], start: str = "") -> Check:
    """Accept whole sentences, as many as given, that contain all words."""
    return {"kind": "mentions", "words": words, "sentences": list(sentences), "start": start}


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def passes(check: Check, answer: str) -> bool:
    """Say whether an answer fulfils a check. Outer white space is not counted."""
    answer = answer.strip()
    if check["kind"] == "exact":
        return answer in check["answers"]
    if check["kind"] == "members":
        words = [w for w in re.split(r", | and ", answer.rstrip(".")) if w]
        return len(words) == check["count"] == len(set(words)) and set(words) <= set(check["pool"])
    parts = _sentences(answer)
    low, high = check["sentences"]
    found = set(re.findall(r"[\w']+", answer))
    return (
        low <= len(parts) <= high
        and answer.startswith(check["start"])
        and all(part[0].isupper() and part[-1] in ".!?" for part in parts)
        and all(len(part.split()) >= 2 for part in parts)
        and found >= set(check["words"])
    )
