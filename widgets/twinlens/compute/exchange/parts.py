"""The parts of a model that are exchanged for the other's, and their places in a row of gates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from twinlens.compute.models.architectures import Sizes


@dataclass(frozen=True)
class Place:
    """One part; `layer` and `head` are -1 where it has none."""

    kind: str
    layer: int = -1
    head: int = -1


@dataclass(frozen=True)
class Layout:
    """Where each part stands in a row of gates.

    A row has a gate for the embedding, for every head layer by layer, for every feed-forward
    block, and for the unembedding with the norm in front of it. Together they are the model.
    """

    layers: int
    heads: int

    @classmethod
    def of(cls, sizes: Sizes) -> Layout:
        """Layout of a model."""
        return cls(sizes.layers, sizes.heads)

    @property
    def count(self) -> int:
        """P, the length of a row."""
        return self.layers * (self.heads + 1) + 2

    @property
    def embedding(self) -> int:
        """Place of the embedding."""
        return 0

    def head(self, layer: int, head: int = 0) -> int:
        """Place of a head; those of a layer stand side by side."""
        return 1 + layer * self.heads + head

    def feed_forward(self, layer: int) -> int:
        """Place of a feed-forward block."""
        return 1 + self.layers * self.heads + layer

    @property
    def unembedding(self) -> int:
        """Place of the unembedding."""
        return self.count - 1

    def first(self, places: Tensor) -> int:
        """First layer of some places, given as a mask [P]; their number for what is behind all."""
        parts = [self.part(place) for place in places.nonzero()[:, 0].tolist()]
        return min((self.layer(part) for part in parts), default=self.layers)

    def layer(self, part: Place) -> int:
        """Layer at which a pass with another part begins to differ."""
        if part.kind == "unembedding":
            return self.layers
        return max(part.layer, 0)

    def part(self, place: int) -> Place:
        """What stands at a place."""
        if place == self.embedding:
            return Place("embedding")
        if place == self.unembedding:
            return Place("unembedding")
        if place < self.feed_forward(0):
            return Place("head", *divmod(place - 1, self.heads))
        return Place("feed_forward", place - self.feed_forward(0))

    def blocks(self) -> dict[Place, list[int]]:
        """Whole blocks in the order they are computed, and the places of each."""
        listed = {Place("embedding"): [self.embedding]}
        for layer in range(self.layers):
            first = self.head(layer)
            listed[Place("attention", layer)] = list(range(first, first + self.heads))
            listed[Place("feed_forward", layer)] = [self.feed_forward(layer)]
        listed[Place("unembedding")] = [self.unembedding]
        return listed
