"""Blocks of a pass as a whole: answers, layers, the lens, and what heads write along a unit.

Two of them run on from elsewhere: the residual stream handed over, lower layers of one model and
the layers above of the other; and both models without the chat template, beside with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.concepts.units import Concepts
from twinlens.compute.heads import attention
from twinlens.compute.heads.effects import answer_logprobs
from twinlens.compute.live import lens
from twinlens.compute.live.lens import divergence
from twinlens.compute.models.layer_forms import check_layers_alone
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, precise
from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.compute.text.answers import answer_tokens, context, own_answer_of
from twinlens.compute.text.cutting import in_front, pieces
from twinlens.compute.text.other_text import other_text, windows
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.forms import OtherText, TemplateEffects
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import SIDES, Side, reading_position
from twinlens.errors import UnknownBlockError
from twinlens.measures.differences import relative_difference
from twinlens.measures.findings import findings, update_finding
from twinlens.support.progress import Report, told
from twinlens.traces.trace import Trace

#: What of a capture shifts are of.
SHIFTED: dict[Block[Any], str] = {
    blocks.shift_attention: "attention_out",
    blocks.shift_feed_forward: "feed_forward_out",
    blocks.shift_residual: "residual",
}
#: Components per layer whose ``heads/write`` blocks a recording keeps.
WRITTEN = 3
#: Other texts that stand in the template's place, for small models and for others.
OTHER_TEXTS, FEW_OTHER_TEXTS = 19, 9


class PassBlocks:
    """The room of everything that is about a pass as a whole."""

    def __init__(self, subject: Subject, concepts: Concepts) -> None:
        self._subject, self._concepts = subject, concepts
        self._lenses: dict[tuple[Side, int], Value] = {}

    @provides(blocks.own_answer)
    def own_answer(self, side: Side, report: Report | None = None) -> Value:
        """What a model answers by itself, from the manifest or generated now."""
        subject, m = self._subject, self._subject.manifest
        known = m.answers[side]
        if known.own_text is not None:
            return {"text": known.own_text, "stopped": bool(known.stopped)}
        ids, stopped = own_answer_of(subject, side, report)
        prompt = [token.id for token in m.prompt_tokens]
        before = context(subject.models.tokenizers["tuned"], prompt)
        text = answer_tokens(subject.models.tokenizers[side], ids, before)[1]
        return {"text": text, "stopped": stopped}

    @records(blocks.own_answer)
    def recorded_answers(self, trace: Trace, _: object) -> Iterator[str]:
        """Of a model that read another one."""
        answers = trace.manifest.answers
        yield from (blocks.own_answer(s) for s in SIDES if answers[s].own_text is None)

    @provides(blocks.logprob)
    def logprob(self, side: Side) -> Array:
        """Log-probabilities of the answer."""
        index = torch.tensor(self._subject.answer_ids(side))[:, None]
        return self._subject.captures[side].logprobs.gather(1, index)[:, 0].numpy()

    @provides(blocks.alternatives)
    def alternatives(self, side: Side) -> list[Any]:
        """Rivals of the answer tokens."""
        show = pieces(self._subject.models.tokenizers[side])
        rows = zip(
            self._subject.captures[side].logprobs, self._subject.answer_ids(side), strict=True
        )
        return [lens.likeliest(row, show, besides=token) for row, token in rows]

    @provides(blocks.disagreement)
    def disagreement(self) -> Array:
        """How far the predictions are apart."""
        base, tuned = lens.comparable(self._subject.captures)
        return lens.divergence(tuned, base).float().numpy()

    @provides(blocks.answer_steps)
    def answer_steps(self) -> list[Any]:
        """What both models predict at each answer token."""
        return lens.answer_steps(self._subject)

    @provides(blocks.template)
    def template(self, report: Report | None) -> TemplateEffects:
        """What weights and chat template add."""
        return template_effects(self._subject, report)

    @provides(blocks.other_texts)
    def other_texts(self, report: Report | None) -> list[OtherText]:
        """What another text is worth in the template's place."""
        return other_texts(self._subject, report)

    @records(blocks.template)
    def recorded_template(self, trace: Trace, _: object) -> Iterator[str]:
        """Of a prompt that has one."""
        if trace.manifest.shared and has_template(trace.manifest):
            yield blocks.template()

    @provides(*SHIFTED)
    def shift(self, block: Block[[]]) -> Array:
        """How far outputs, or the residual streams, are apart."""
        common = self._subject.manifest.common_length
        captures = (self._subject.captures[side] for side in SIDES)
        base, tuned = (getattr(of, SHIFTED[block])[:, :common].numpy() for of in captures)
        return relative_difference(base, tuned).T.astype("float32")

    @provides(blocks.lens)
    def lens(self, side: Side, token: int) -> Value:
        """Logit lens where a token is predicted."""
        models, m = self._subject.models, self._subject.manifest
        if (side, token) not in self._lenses:
            # With one model at a time, do the whole answer while it is there.
            together = range(m.prompt_length, m.length(side)) if models.memory != "both" else ()
            show = pieces(models.tokenizers[side])
            with models.model(side) as model:
                for t in (token, *together):
                    position = reading_position(t, m.prompt_length)
                    residual = self._subject.captures[side].residual[:, position]
                    logprobs = lens.logit_lens(model, residual)
                    target = self._subject.ids[side][position + 1]
                    self._lenses[side, t] = lens.lens_block(logprobs, target, show)
        return self._lenses[side, token]

    @provides(blocks.lens_table)
    def lens_table(self, side: Side, unembedding: Side) -> Array:
        """Logit lens of the whole answer."""
        m = self._subject.manifest
        residual = self._subject.captures[side].residual[:, m.prompt_length - 1 : -1]
        targets = self._subject.models.readable(unembedding, self._subject.answer_ids(side))
        with self._subject.models.model(unembedding) as model:
            return lens.lens_table(model, residual, targets).numpy()

    @provides(blocks.handover)
    def handover(self, side: Side, report: Report | None) -> Array:
        """Lower layers of one model, upper ones of the other."""
        return handed_over(self._subject, side, report)

    @provides(blocks.head_write)
    def head_write(self, side: Side, layer: int, unit: tuple[str, int]) -> Array:
        """What heads write along a component or a neuron's value vector."""
        kind, number = unit
        if kind == "component":
            direction = torch.from_numpy(self._concepts.directions(side, layer)[number])
        else:
            vector = self._concepts.value_vector(side, layer, number)
            direction = torch.nn.functional.normalize(vector, dim=0)
        with self._subject.models.model(side) as model:
            return half(attention.write(self._subject.captures[side], model, direction))

    @records(blocks.lens)
    def recorded_lenses(self, trace: Trace, _: object) -> Iterator[str]:
        """Of the answer."""
        m = trace.manifest
        for side in SIDES:
            yield from (blocks.lens(side, t) for t in range(m.prompt_length, m.length(side)))

    @records(blocks.lens_table)
    def recorded_lens_tables(self, trace: Trace, _: object) -> Iterator[str]:
        """With the own unembedding; with the other's where both models are loaded."""
        yield from (blocks.lens_table(side, side) for side in SIDES)
        if self._subject.models.memory == "both":
            yield from (blocks.lens_table(*pair) for pair in (SIDES, SIDES[::-1]))

    @records(blocks.head_write)
    def recorded_writes(self, trace: Trace, _: object, everything: bool) -> Iterator[str]:
        """Of the leading components; of a large pair they take more room than all the rest."""
        for side in SIDES if everything or self._subject.models.sizes.small else ():
            for layer in range(trace.manifest.pair.layers):
                for k in range(min(WRITTEN, self._concepts.count)):
                    yield blocks.head_write(side, layer, f"component:{k}")


class FindingBlocks:
    """The room of what is said of a whole trace, from its blocks."""

    def __init__(self, trace: Trace) -> None:
        # Weakly: the trace holds this room, and shall be freed with its last reference.
        self._trace: Trace = weakref.proxy(trace)

    @provides(blocks.findings)
    def findings(self, report: Report | None) -> Value:
        """What tuning changed."""
        return findings(self._trace, report)

    @provides(blocks.update_finding)
    def update_finding(self, report: Report | None) -> Value:
        """What is said of the update."""
        return update_finding(self._trace, report)


def handed_over(subject: Subject, lower: Side, report: Report | None = None) -> Array:
    """Answer under the lower layers of one model and the upper ones of the other.

    Parameters
    ----------
    lower : Side
        Whose the lower layers are.

    Returns
    -------
    float32 array, shape [layers + 1, M, 2]
        With the first l layers and, from l = 1 on, the embedding of `lower`: log-probability of
        each answer token, and KL(tuned || this), nats. At l = 0 it is the other model itself, at
        the last l what that model's final norm and unembedding make of `lower`'s residual stream.

    Raises
    ------
    UnsupportedArchitectureError
        If layers read more than the residual stream.
    """
    upper = SIDES[1 - SIDES.index(lower)]
    residual, own = subject.captures[lower].residual, subject.captures[upper].logprobs
    check_layers_alone(
        subject.models.configs[upper], "layers of one model cannot go on above those of the other"
    )
    depth = len(residual)
    tuned = subject.captures["tuned"].logprobs
    target = torch.tensor(subject.answer_ids(upper))[:, None]
    rows = []
    for layer in told(
        range(depth), f"upper layers of {upper} above lower layers of {lower}", report
    ):
        if layer == 0:
            logprobs = own
        else:
            # The other model gets through between two passes.
            with subject.models.model(upper) as model:
                reading = subject.reading(upper, model)
                returned = subject.captures[upper].returned
                logprobs = continued(reading, residual[layer, :-1], layer, returned)
        common = min(tuned.shape[1], logprobs.shape[1])
        ours, theirs = (
            row[:, :common].double().log_softmax(dim=-1) for row in (tuned, logprobs.cpu())
        )
        of_answer = logprobs.cpu().gather(1, target)[:, 0].double()
        rows.append(torch.stack([of_answer, divergence(ours, theirs)], dim=-1))
    return np.asarray(torch.stack(rows).float())


def continued(reading: Reading, residual: Tensor, layer: int, returned: int) -> Tensor:
    """Log-probabilities [M, vocabulary] of a model that goes on from another residual stream.

    Parameters
    ----------
    residual : tensor [T - 1, hidden]
        In front of the layer; behind the last layer where `layer` is their number.
    returned : int
        See `Capture.returned`.
    """
    model: PreTrainedModel = reading.model
    with torch.no_grad(), reading.at_its_length(), onward(model, layer, residual, returned):
        output = model(reading.read, use_cache=False, logits_to_keep=reading.positions)
    return precise(output.logits)[0].log_softmax(dim=-1)


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
