"""Forms of the block about the update, as `forms` has those of all others."""

from __future__ import annotations

from typing import TypedDict


class UpdateDirection(TypedDict):
    """A singular direction of what tuning changed in one matrix.

    ``index`` counts over all matrices, ``direction`` in its own, the longest first. ``effect`` is
    what it did to the answer on the way from base to tuned, ``lost`` what taking it out of tuned
    would cost, both estimates in nats; ``measured`` is the intervention beside ``effect``, of the
    first dozen.
    ``novelty`` says whether it reuses base's leading directions. ``reads`` and ``writes`` are
    words with their cosine, ``heads`` and ``neurons`` those it goes through with their share of
    it, ``tokens`` positions with the part of the effect that it has there.
    """

    index: int
    layer: int
    kind: str
    direction: int
    size: float
    effect: float
    lost: float
    measured: float | None
    novelty: str
    reads: list[tuple[str, float]]
    writes: list[tuple[str, float]]
    heads: list[tuple[int, float]]
    neurons: list[tuple[int, float]]
    tokens: list[tuple[int, float]]


class KeptCurve(TypedDict):
    """Share of the shift that the first of an order of directions keep, for some ``counts``.

    ``needed`` of them, the fewest, keep the goal.
    """

    order: str
    counts: list[int]
    kept: list[float]
    needed: int


class UpdateDial(TypedDict):
    """The answer's log-probability with a part of the update times a scale, and what is answered.

    What is not turned stays as it is in tuned. ``dial`` has scale and nats, ``dial_answers`` the
    text at each.
    """

    dial: list[tuple[float, float]]
    dial_answers: list[str]


class UpdateTaken(TypedDict):
    """The update taken apart into singular directions, and what they do to the answer.

    ``shift`` is log p(tuned) - log p(base) of the answer, ``total`` the sum of the effects of all
    ``count`` directions and of the other tensors, ``random`` the shift by updates of equal size in
    random directions, all in nats. The smallest set found has ``needed`` directions and keeps the
    share ``kept`` of the shift, as many by size keep ``size``, and random sets of as many
    ``drawn``; ``rest`` is what embeddings, norms and biases keep alone; with the set base answers
    ``answer``. ``directions`` are those of largest effect, ``agreement`` the rank correlation of
    their effects with what was measured, ``dial`` the answer's log-probability with all of the
    update times a scale, and ``dial_answers`` what is answered at each of these.
    """

    shift: float
    total: float
    count: int
    goal: float
    needed: int
    kept: float
    size: float
    drawn: list[float]
    rest: float
    answer: str
    random: list[float]
    agreement: float
    curves: list[KeptCurve]
    directions: list[UpdateDirection]
    dial: list[tuple[float, float]]
    dial_answers: list[str]
