"""Traces: everything computed for one pair and one prompt, as blocks behind keys.

A trace is live (`twinlens.compute.live.live.LiveTrace`, computed on demand from the models) or
recorded (`twinlens.traces.recording.RecordedTrace`). Both answer `block`; the typed accessors here
are written once on top of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from twinlens.contract import blocks, lookup
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import EXACT, SIDES, Side
from twinlens.errors import ArgumentError, UnknownBlockError
from twinlens.support.calls import methods_called_rightly
from twinlens.support.progress import Report
from twinlens.traces.frames import (
    DataFrame,
    LabelledArray,
    Records,
    TracedDeletion,
    TracedFaithfulness,
    axes_of,
    frame,
    frame_of,
    labelled,
)
from twinlens.traces.marks import Mark
from twinlens.traces.story import Slide

Choice = TypeVar("Choice")


@methods_called_rightly
@dataclass(frozen=True, repr=False)
class Attribution:
    """Effect of every prompt token on every answer token.

    Attributes
    ----------
    values : float32 array, shape [N, M]
        In the unit its method states. `numpy.asarray` of the object gives the same.
    prompt_tokens, answer_tokens : tuple of str
    side : Side
    method : str
    """

    values: Array
    prompt_tokens: tuple[str, ...]
    answer_tokens: tuple[str, ...]
    side: Side
    method: str

    def __repr__(self) -> str:
        prompt, answer = self.values.shape
        return (
            f"<Attribution of {self.side} by {self.method}: {prompt} prompt tokens, "
            f"{answer} answer tokens>"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.values, dtype=dtype, copy=True if copy is None else copy)

    def to_frame(self) -> DataFrame:
        """Tidy table with one row per cell: position and text of both tokens, and the value."""
        rows, columns = np.indices(self.values.shape)
        return frame_of(
            {
                "prompt_position": rows.ravel(),
                "prompt_token": np.array(self.prompt_tokens, object)[rows.ravel()],
                "answer_position": columns.ravel(),
                "answer_token": np.array(self.answer_tokens, object)[columns.ravel()],
                "value": self.values.ravel(),
            }
        )


@methods_called_rightly
class Trace(ABC):
    """One pair, one prompt, and the blocks computed for them."""

    manifest: Manifest
    #: Whether what is not there yet is computed when it is asked for.
    computes = False
    #: Spans marked anew before it was recorded; None for the manifest's own.
    marks: list[Mark] | None = None
    #: Kept views, in order.
    story: list[Slide] = []  # noqa: RUF012 (never changed in place)

    @abstractmethod
    def block(self, key: str, report: Report | None = None) -> Value:
        """Return the value behind a key (see `twinlens.contract.blocks` for keys and shapes).

        Raises
        ------
        UnknownBlockError
            If the key is malformed, out of range, or not in this trace.
        Interrupted
            If `report` asked to stop.
        """

    def at(
        self,
        scale: float,
        *,
        layer: int | None = None,
        kind: str | None = None,
        direction: int | None = None,
    ) -> Trace:
        """The same trace with the update, or a part of it, times a scale: it takes both models.

        Raises
        ------
        ArgumentError
            If they are not there.
        """
        raise ArgumentError(
            f"the update is turned to {scale!r} where both models are loaded: explain the prompt "
            "with the pair"
        )

    def known(self, key: str) -> Value | None:
        """The value behind a key where nothing has to be computed for it, else None."""
        if self.computes:
            return None
        try:
            return self.block(key)
        except UnknownBlockError:
            return None

    @abstractmethod
    def keys(self) -> Iterable[str]:
        """Keys of a recording, the most useful first, so that a cut keeps the best."""

    def every_key(self) -> Iterable[str]:
        """The same of a recording that keeps more than panels need."""
        return self.keys()

    def array(self, key: str, report: Report | None = None) -> Array:
        """A block that is an array."""
        return cast(Array, self.block(key, report))

    def own_answer(self, side: Side, report: Report | None = None) -> str:
        """What a model answers by itself, whatever answer is read; generated if need be."""
        read = self.manifest.answers.get(side) if isinstance(side, str) else None
        if read is not None and read.own_text is not None:
            return read.own_text
        return str(cast(dict[str, Any], self.block(blocks.own_answer(side), report))["text"])

    def frame(self, key: str, report: Report | None = None) -> DataFrame:
        """Any block as a table: one row per number, or per layer, neuron or word it lists.

        Raises
        ------
        UnknownBlockError
            If the key is malformed, out of range, or not in this trace.
        """
        return frame(key, self.block(key, report), self.manifest)

    def __repr__(self) -> str:
        manifest = self.manifest
        lengths = " and ".join(str(manifest.answer_length(side)) for side in SIDES)
        return (
            f"<{type(self).__name__} of {manifest.pair.base.name} | {manifest.pair.tuned.name}: "
            f"{manifest.prompt_length} prompt tokens, {lengths} answer tokens>"
        )

    def saliency(
        self, side: Side, method: str | None = None, report: Report | None = None
    ) -> Attribution:
        """Effect of every prompt token on every answer token, shape [N, M]."""
        method = self.manifest.first_method if method is None else method
        return Attribution(
            values=self.array(blocks.saliency(side, method), report),
            prompt_tokens=tuple(token.text for token in self.manifest.prompt_tokens),
            answer_tokens=tuple(token.text for token in self.manifest.answers[side].tokens),
            side=side,
            method=method,
        )

    def faithfulness(
        self, side: Side, method: str | None = None, report: Report | None = None
    ) -> TracedFaithfulness:
        """Agreement of a method with exact occlusion in all cells, which is computed if need be.

        The block ``faithfulness/S/METHOD`` tells the same for the cells that are exact so far.
        """
        method = self.manifest.first_method if method is None else method
        key = blocks.faithfulness(side, method)
        self.array(blocks.saliency(side, EXACT), report)
        return TracedFaithfulness(**cast(dict[str, Any], self.block(key, report)))

    def deletion(
        self, side: Side, method: str | None = None, report: Report | None = None
    ) -> TracedDeletion:
        """Loss of the answer as the tokens are hidden that matter most, or least, by a method."""
        key = blocks.deletion(side, self.manifest.first_method if method is None else method)
        return TracedDeletion(**cast(dict[str, Any], self.block(key, report)))

    def attention(self, side: Side, layer: int, head: int) -> LabelledArray:
        """Attention pattern of one head, shape [T, T], rows are queries."""
        return self._labelled(blocks.attention(side, layer, head))

    def head_change(self) -> LabelledArray:
        """Jensen-Shannon divergence (bits) per head, averaged over positions, shape [L, H]."""
        change = np.asarray(self.array(blocks.head_change()).astype(np.float32).mean(axis=0))
        return labelled(change, self.manifest, "heads/change, mean", ("L", "H"), {})

    def head_measure(self, name: str, side: Side) -> LabelledArray:
        """One of `HEAD_MEASURES` of `twinlens.contract.blocks`, shape [T or N, L, H].

        Raises
        ------
        UnknownBlockError
            If there is no such measure.
        """
        return self._labelled(_one_of("measure of heads", blocks.HEAD_MEASURES, name)(side))

    def head_effect(
        self,
        side: Side,
        answer_token: int | None = None,
        *,
        exact: str | None = None,
        report: Report | None = None,
    ) -> LabelledArray:
        """What every head adds to the log-probability of the answer, nats, shape [L, H].

        Parameters
        ----------
        side : Side
        answer_token : int, optional
            One answer token, 0 .. M - 1; by default the sum over the whole answer.
        exact : {"zero", "mean", "other"}, optional
            Replace the heads of largest estimate, one after the other, by zero, by their mean
            over the text, or by the other model's, and measure; NaN for all other heads. By
            default the first-order estimate for all heads. Where a model is nearly certain of
            its answer gradients vanish: there, measure.
        report : callable, optional
            Told how many heads are measured; may raise `Interrupted`.
        """
        key = (
            blocks.head_effect(side, answer_token)
            if exact is None
            else blocks.head_ablation(side, exact, answer_token)
        )
        return self._labelled(key, report)

    def shift(self, part: str = "residual") -> LabelledArray:
        """Relative difference of the two models' outputs, shape [C, L], of the residual [C, L+1].

        Parameters
        ----------
        part : {"attention", "feed_forward", "residual"}
            Which outputs; the residual stream after the embedding (layer -1 of the table) and
            after each layer.

        Raises
        ------
        UnknownBlockError
            If there is no such part.
        """
        return self._labelled(_one_of("part of a layer", blocks.SHIFTS, part)())

    def disagreement(self) -> LabelledArray:
        """KL(tuned || base) at each token of a shared answer, nats, shape [M]."""
        return self._labelled(blocks.disagreement())

    def logprob(self, side: Side) -> LabelledArray:
        """Log-probability of each answer token, nats, shape [M]."""
        return self._labelled(blocks.logprob(side))

    def alternatives(self, side: Side) -> Records:
        """The five likeliest rivals of each answer token."""
        return self._records(blocks.alternatives(side))

    def lens(self, side: Side, position: int) -> Records:
        """Logit lens of the token at a position: what each layer would answer there.

        Positions count over prompt and answer; the row of layer -1 is that of the embedding.
        """
        return self._records(blocks.lens(side, position))

    def answer_steps(self, report: Report | None = None) -> Records:
        """What both models predict at each token of a shared answer, and how far that is apart."""
        return self._records(blocks.answer_steps(), report)

    def lens_table(self, side: Side, unembedding: Side | None = None) -> LabelledArray:
        """Logit lens of the answer: log-probability and rank of its tokens, layer by layer.

        With the side's own unembedding by default.
        """
        return self._labelled(blocks.lens_table(side, side if unembedding is None else unembedding))

    def handover(self, lower: Side = "tuned", report: Report | None = None) -> LabelledArray:
        """The answer where one model's lower layers go on in the other's upper ones."""
        return self._labelled(blocks.handover(lower), report)

    def hidden_segments(self, report: Report | None = None) -> Records:
        """What hiding each whole segment of the prompt costs each token of an answer, nats."""
        return self._records(blocks.hidden_segments(), report)

    def carried(self, answer_token: int | None = None, report: Report | None = None) -> Records:
        """Which parts of tuned carry its difference from base, of the answer or one token."""
        return self._records(blocks.carried(answer_token), report)

    def exchanged(
        self,
        into: Side = "tuned",
        position: int | None = None,
        answer_token: int | None = None,
        *,
        heads_of: int | None = None,
        neuron: tuple[int, int] | None = None,
        report: Report | None = None,
    ) -> LabelledArray:
        """What goes with single parts of one model, each replaced by the other model's.

        In nats of the shift, log p(tuned) - log p(base): what tuned loses with a part of base, or
        base gains with one of tuned; and as the share of KL between the two that is gone.

        Parameters
        ----------
        into : Side
            The model whose parts are replaced.
        position : int, optional
            A token over prompt and answer: parts are replaced only where it is read, an answer
            token where it is predicted. By default at every position.
        answer_token : int, optional
            One answer token, 0 .. M - 1; by default the whole answer.
        heads_of : int, optional
            A layer, whose heads are replaced one by one: shape [H, 2].
        neuron : (layer, neuron), optional
            One neuron: shape [1, 2].

        Returns
        -------
        array [L + 1, 3, 2]
            Of the embedding (layer -1 of the table) and of every layer: its output, attention and
            feed-forward block.

        Raises
        ------
        UnknownBlockError
            If the models read two answers, or something is out of range.
        MemoryNeededError
            If the models take turns in memory.
        """
        if heads_of is not None:
            key = blocks.exchanged_heads(into, position, answer_token, heads_of)
        elif neuron is not None:
            if not (isinstance(neuron, Sequence) and len(neuron) == 2):
                raise ArgumentError(f"neuron is (layer, neuron), not {neuron!r}")
            key = blocks.exchanged_neuron(into, position, answer_token, *neuron)
        else:
            key = blocks.exchanged(into, position, answer_token)
        return self._labelled(key, report)

    def exchanged_neurons(
        self,
        layer: int,
        into: Side = "tuned",
        position: int | None = None,
        answer_token: int | None = None,
        report: Report | None = None,
    ) -> Records:
        """The neurons of a layer with which most goes, each replaced alone by the other model's.

        Neuron, nats of the shift and share of KL, most first; arguments as of `exchanged`.
        """
        key = blocks.exchanged_neurons(into, position, answer_token, layer)
        return self._records(key, report)

    def template_effects(self, report: Report | None = None) -> Records:
        """What the weights and the chat template add to each answer token, in nats."""
        return self._records(blocks.template(), report)

    def components(self, layer: int, report: Report | None = None) -> Records:
        """Components of a layer's feed-forward block in base, each with its match in tuned."""
        return self._records(blocks.components(layer), report)

    def rotation(self, report: Report | None = None) -> Records:
        """How far each layer's leading components are turned, beside random rotations."""
        return self._records(blocks.rotation(), report)

    def neurons(self, layer: int | None = None, position: int | None = None) -> Records:
        """Most active and most changed neurons of a layer or of all.

        At the token of a position, or by mean magnitude over the answer.
        """
        return self._records(blocks.neurons(layer, position))

    def neuron_effect(
        self, side: Side, answer_token: int | None = None, report: Report | None = None
    ) -> LabelledArray:
        """What each neuron adds to an answer token or the answer, first order, nats, [L, I]."""
        return self._labelled(blocks.neuron_effect(side, answer_token), report)

    def unit_effects(
        self, layer: int, position: int, *, exact: bool = True, report: Report | None = None
    ) -> Records:
        """What a token loses without each unit of a layer where it is read, nats, largest first.

        Measured, or estimated by gradients that are integrated while the layer's feed-forward
        block goes away there; of a prompt token it is what the whole answer loses.
        """
        block = blocks.unit_effects if exact else blocks.unit_estimates
        return self._records(block(layer, position), report)

    def _labelled(self, key: str, report: Report | None = None) -> LabelledArray:
        array, request = self.array(key, report), lookup.read(key, self.manifest)
        return labelled(array, self.manifest, key, axes_of(request.block), request.values)

    def _records(self, key: str, report: Report | None = None) -> Records:
        return Records(self.block(key, report), key)


def _one_of(what: str, choices: Mapping[str, Choice], name: str) -> Choice:
    if not (isinstance(name, str) and name in choices):
        raise UnknownBlockError(f"there is no {what} {name!r}: one of {', '.join(choices)}")
    return choices[name]
