"""One prompt in two chat templates: each model's own, side by side.

What a person wrote is where it is in each of them by construction (`chat.Content`), so that its
tokens are found in both without searching. The two are laid into one row: what both read stands
once, what only one reads stands in its place, base's before tuned's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

from twinlens.compute.models.models import Models
from twinlens.compute.text.chat import Message, Spans
from twinlens.compute.text.prompt import Prompt, read_prompt
from twinlens.contract.manifest import Token
from twinlens.contract.words import SIDES, Side
from twinlens.errors import PromptError


@dataclass(frozen=True)
class AlignedPrompts:
    """A prompt as each model reads it, and both as one row of tokens.

    Attributes
    ----------
    row : Prompt
        All tokens; its text is theirs, one after the other.
    places : dict of Side to list of int
        Where each token of a side stands in the row, rising.
    """

    own: dict[Side, Prompt]
    row: Prompt
    places: dict[Side, list[int]]

    def only(self, side: Side) -> list[int]:
        """Places in the row of what only this side reads."""
        positions: list[int] = self.row.settings["read_by_one"][side]
        return positions


def read_in_own_templates(
    pair: Models,
    text: str | Sequence[Message],
    *,
    instruction: Spans = None,
    context: Spans = None,
    tools: Sequence[Any] | None = None,
    chat: Mapping[str, Any] | None = None,
) -> AlignedPrompts:
    """Render a prompt in each model's chat template and lay the two into one row.

    A model that has no template reads the text alone.

    Raises
    ------
    PromptError
        As `read_prompt`, or if neither model has a template.
    """
    own: dict[Side, Prompt] = {}
    for side in SIDES:
        has = bool(pair.tokenizers[side].chat_template or (chat or {}).get("chat_template"))
        own[side] = read_prompt(
            pair,
            text,
            instruction=instruction,
            context=context,
            template=side if has else "plain",
            tools=tools if has else None,
            chat=chat if has else None,
        )
    if not any(prompt.settings.get("chat_template") for prompt in own.values()):
        raise PromptError(
            'template="own" is for models with chat templates, and neither has one: use '
            "template=False"
        )
    return _laid(own)


def _laid(own: dict[Side, Prompt]) -> AlignedPrompts:
    names = {side: _names(prompt) for side, prompt in own.items()}
    if own["base"].ids == own["tuned"].ids:  # one template in both
        names["base"] = names["tuned"]
    matcher = SequenceMatcher(None, names["base"], names["tuned"], autojunk=False)
    places: dict[Side, list[int]] = {side: [] for side in SIDES}
    tokens: list[Token] = []
    text = ""

    def put(side: Side, number: int, *also: Side) -> None:
        nonlocal text
        token = own[side].tokens[number]
        piece = own[side].text[token.start : token.end]
        for reader in (side, *also):
            places[reader].append(len(tokens))
        tokens.append(replace(token, start=len(text), end=len(text) + len(piece)))
        text += piece

    for what, base_start, base_end, tuned_start, tuned_end in matcher.get_opcodes():
        if what == "equal":
            for number in range(tuned_start, tuned_end):
                put("tuned", number, "base")
            continue
        for number in range(base_start, base_end):
            put("base", number)
        for number in range(tuned_start, tuned_end):
            put("tuned", number)
    row = Prompt(text, tuple(tokens), settings=_settings(own, names["tuned"], places, tokens))
    return AlignedPrompts(own, row, places)


def _names(prompt: Prompt) -> list[Hashable]:
    """What each token is, the same in both prompts where both read it, else nothing else's."""
    names: list[Hashable] = []
    for number, token in enumerate(prompt.tokens):
        # A blank that a template puts in front of a text may be in the text's first token.
        inside = (
            ("written", part, time, max(token.start, place), min(token.end, end), -place)
            for part, content in enumerate(prompt.parts)
            for time, place in enumerate(content.places)
            for end in (place + len(content.text),)
            if max(token.start, place) < min(token.end, end)
        )
        first = number == 0 and token.segment == "special"
        written = None if token.segment in ("special", "template") else next(inside, None)
        if written is not None:
            *which, start, end, back = written
            names.append((*which, start + back, end + back))
        else:
            names.append(("first", token.id) if first else object())
    return names


def _settings(
    own: dict[Side, Prompt],
    names: Sequence[Hashable],
    places: dict[Side, list[int]],
    tokens: Sequence[Token],
) -> dict[str, Any]:
    """Templates, and where the messages stand in the row, for the manifest."""
    stands: dict[tuple[Any, Any], list[int]] = {}
    for number, name in enumerate(names):
        if isinstance(name, tuple) and name[0] == "written":
            stands.setdefault(name[1:3], []).append(places["tuned"][number])
    parts = own["tuned"].parts
    templates = {side: own[side].settings.get("chat_template") for side in SIDES}
    both = set(places["base"]) & set(places["tuned"])
    given = own["tuned"].settings
    return {name: given[name] for name in ("chat", "tools") if name in given} | {
        "template": "own",
        "chat_templates": templates,
        "read_by_one": {side: sorted(set(places[side]) - both) for side in SIDES},
        "messages": [
            {
                "role": parts[part].role,
                "start": tokens[spots[0]].start,
                "end": tokens[spots[-1]].end,
            }
            for (part, _), spots in stands.items()
        ],
    }
