"""Blocks about attention heads: what they look at, what they do, and what their weights say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.compute.heads import attention as heads
from twinlens.compute.heads.effects import HeadEffects
from twinlens.compute.heads.search import circuit_array
from twinlens.compute.keys import index
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import ABLATIONS, SIDES, Side
from twinlens.errors import UnknownBlockError
from twinlens.support.progress import Report

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair
    from twinlens.compute.passes.capture import Capture

#: Measures of the rows of attention, each an array by position, layer and head.
MEASURES = ("instruction", "sink", "received", "entropy", "previous")


class HeadBlocks:
    """Answers ``heads/...`` (but ``heads/write``) and ``word_pairs/...`` of a live trace.

    Attributes
    ----------
    effects : HeadEffects
    """

    def __init__(self, pair: Pair, manifest: Manifest, captures: Mapping[Side, Capture]) -> None:
        self._pair, self._manifest, self._captures = pair, manifest, captures
        self.effects = HeadEffects(pair, manifest, captures)

    def block(self, key: str, report: Report | None = None) -> Value:
        """The value behind a key, see `twinlens.contract.blocks`."""
        match key.split("/"):
            case ["heads", "change"]:
                both = self._captures["base"], self._captures["tuned"]
                return half(heads.change(*both, self._manifest.common_length))
            case ["heads", name, side] if name in MEASURES and side in SIDES:
                return half(self._measure(name, self._captures[side]))
            case ["heads", "effect", side, answer] if side in SIDES:
                return self.effects.estimate(side, self._column(key, side, answer)).copy()
            case ["heads", "ablation", side, kind, answer, *rest] if side in SIDES:
                column = self._column(key, side, answer)
                return self._ablation(key, side, kind, column, rest, report)
            case ["heads", "circuits"]:
                return circuit_array(self._pair.head_weights.circuits(report))
            case ["word_pairs", "info"]:
                return self._pair.head_weights.search.find(report=report).info_block()
            case ["word_pairs", "counts"]:
                return self._pair.head_weights.search.find(report=report).counts_block()
            case ["word_pairs", "find", *word] if word:
                found = self._pair.head_weights.search.find(report=report)
                return found.find_block("/".join(word))
            case ["word_pairs", layer, head]:
                place = self._place(key, layer, head)
                found = self._pair.head_weights.search.find([place[0]], report)
                return found.head_block(*place)
        raise UnknownBlockError(f"there is no block {key!r}")

    def keys(self) -> Iterator[str]:
        """Blocks a recording keeps, the most useful first; exact effects if they are there."""
        m = self._manifest
        yield "heads/change"
        for name in MEASURES:
            yield from (f"heads/{name}/{side}" for side in SIDES)
        for side in SIDES:
            self.effects.fill(side)
            answers = ["answer", *range(m.answer_length(side))]
            yield from (f"heads/effect/{side}/{at}" for at in answers)
            yield from self._exact_keys(side)
        yield "heads/circuits"

    def _exact_keys(self, side: Side) -> Iterator[str]:
        """Exact effects that are there; of a small pair all for the answer, zero for tokens."""
        answers = [None, *range(self._manifest.answer_length(side))]
        for kind in ABLATIONS if self._manifest.shared else ABLATIONS[:2]:
            for column in answers:
                asked = kind == "zero" or column is None
                if (self._pair.sizes.small and asked) or self.effects.computed(side, kind, column):
                    at = "answer" if column is None else column
                    yield f"heads/ablation/{side}/{kind}/{at}"

    def word_keys(self) -> Iterator[str]:
        """Word pairs of all heads, if they are there or quickly found."""
        sizes = self._pair.sizes
        if self._pair.head_weights.search.complete or sizes.small:
            yield from ("word_pairs/info", "word_pairs/counts")
            depth, every = range(sizes.layers), range(sizes.heads)
            yield from (f"word_pairs/{layer}/{head}" for layer in depth for head in every)

    def _measure(self, name: str, of: Capture) -> Array:
        match name:
            case "received":
                return heads.received(of, self._manifest.prompt_length)
            case "entropy":
                return heads.entropy(of)
            case "previous":
                return heads.previous(of)
            case "sink":
                return heads.to_positions(of, [0])
        return heads.to_positions(of, self._manifest.segment_positions("instruction"))

    def _ablation(
        self,
        key: str,
        side: Side,
        kind: str,
        column: int | None,
        rest: Sequence[str],
        report: Report | None,
    ) -> Array:
        match rest:
            case []:
                strongest = self.effects.strongest(side, column)
                return self.effects.exact(side, kind, strongest, column, report)
            case ["so_far"]:
                return self.effects.so_far(side, kind, column)
            case [layer, head]:
                place = self._place(key, layer, head)
                found = self.effects.exact(side, kind, [place], column, report)
                return np.array([found[place]])
        raise UnknownBlockError(f"there is no block {key!r}")

    def _column(self, key: str, side: Side, text: str) -> int | None:
        if text == "answer":
            return None
        return index(key, text, self._manifest.answer_length(side), "answer token")

    def _place(self, key: str, layer: str, head: str) -> tuple[int, int]:
        sizes = self._pair.sizes
        return index(key, layer, sizes.layers, "layer"), index(key, head, sizes.heads, "head")
