"""Weights or template: both models, each reading the prompt with its chat template and without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from twinlens.compute.heads.effects import answer_logprobs
from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.subject import Subject
from twinlens.compute.text.cutting import in_front
from twinlens.compute.text.other_text import other_text, windows
from twinlens.contract.forms import OtherText, TemplateEffects
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Side
from twinlens.errors import UnknownBlockError
from twinlens.support.progress import Report, told

#: Other texts that stand in the template's place, for small models and for others.
OTHER_TEXTS, FEW_OTHER_TEXTS = 19, 9


def has_template(manifest: Manifest) -> bool:
    """Whether the prompt was read in a chat template."""
    return bool(manifest.segment_positions("template"))


def other_texts(subject: Subject, report: Report | None = None) -> list[OtherText]:
    """How likely the answer is with other text of as many tokens in the template's place.

    What the template does beyond that is due to the template, and not to text around the prompt.
    """
    m, models = subject.manifest, subject.models
    plain = set(_positions(subject))
    left_out = [i for i in range(m.prompt_length) if i not in plain]
    draws = OTHER_TEXTS if models.sizes.small else FEW_OTHER_TEXTS
    drawn = windows(other_text(models.tokenizers["tuned"]), len(left_out), draws)
    worth: dict[Side, list[float]] = {}
    for side in told(
        SIDES[::-1], lambda side: f"reading other text in place of the template, {side}", report
    ):
        texts = []
        for stretch in drawn:
            text = list(subject.ids[side])
            for i, token in zip(left_out, models.readable(side, stretch), strict=True):
                text[i] = token
            texts.append(text)
        with models.model(side) as model:
            read = [answer_logprobs(Reading(model, text, m.prompt_length)) for text in texts]
        worth[side] = [float(logprobs.double().numpy().sum()) for logprobs in read]
    return [
        OtherText(base=base, tuned=tuned)
        for base, tuned in zip(worth["base"], worth["tuned"], strict=True)
    ]


def _positions(subject: Subject) -> list[int]:
    """Prompt positions that are read without the template."""
    m = subject.manifest
    if not has_template(m):
        raise UnknownBlockError("this prompt has no chat template: trace with template=True")
    positions = plain_positions(m, in_front(subject.models.tokenizers["tuned"]))
    if not positions:
        raise UnknownBlockError(
            "nothing is left of this prompt without its chat template: write what the models "
            "should read"
        )
    return positions


def template_effects(subject: Subject, report: Report | None = None) -> TemplateEffects:
    """What weights and chat template add to each token of the answer, see `TemplateEffects`."""
    m, positions = subject.manifest, _positions(subject)
    plain: dict[Side, Array] = {}
    # Tuned first: with memory="sequential" it is the one still loaded.
    for side in told(SIDES[::-1], lambda side: f"reading without the template, {side}", report):
        ids = [*(subject.ids[side][i] for i in positions), *subject.answer_ids(side)]
        with subject.models.model(side) as model:
            plain[side] = answer_logprobs(Reading(model, ids, len(positions))).double().numpy()
    inside = {side: _captured(subject, side) for side in SIDES}
    weights, without = inside["tuned"] - inside["base"], plain["tuned"] - plain["base"]
    return TemplateEffects(
        left_out=[i for i in range(m.prompt_length) if i not in set(positions)],
        base=inside["base"].tolist(),
        tuned=inside["tuned"].tolist(),
        base_plain=plain["base"].tolist(),
        tuned_plain=plain["tuned"].tolist(),
        weights=weights.tolist(),
        template=(inside["tuned"] - plain["tuned"]).tolist(),
        together=(weights - without).tolist(),
    )


def plain_positions(manifest: Manifest, front: Sequence[int]) -> list[int]:
    """Prompt positions that are no part of the template.

    The template's own special tokens go with it; those that the tokenizer puts in front of every
    text stay where the prompt starts with them.
    """
    tokens = manifest.prompt_tokens
    first = len(front) if [token.id for token in tokens[: len(front)]] == list(front) else 0
    return [
        i
        for i, token in enumerate(tokens)
        if i < first or token.segment not in ("special", "template")
    ]


def _captured(subject: Subject, side: Side) -> Array:
    index = torch.tensor(subject.answer_ids(side))[:, None]
    return np.asarray(subject.captures[side].logprobs.gather(1, index)[:, 0].double())
