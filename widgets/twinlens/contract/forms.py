"""Forms of JSON blocks, as types; from these come their TypeScript counterparts.

Words are sorted by absolute score, the largest first; the sign is kept.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, NotRequired, TypeAlias, TypedDict

#: A word or token and its score: a cosine, or of alternatives a probability.
Word: TypeAlias = tuple[str, float]
#: The five likeliest rivals of each answer token.
Alternatives: TypeAlias = list[list[Word]]


class HandLabel(TypedDict):
    """What a person calls a component: a name, and any of `TASKS` and `LEVELS`."""

    name: str
    labels: list[str]


#: Labels given by hand, by ``layer/component`` as base numbers them.
HandLabels: TypeAlias = dict[str, HandLabel]


class OwnAnswer(TypedDict):
    """What a model answers by itself, and whether it ended before the token limit."""

    text: str
    stopped: bool


class LensLayer(TypedDict):
    """What the residual stream after one layer would answer; nats, and a rank from 1."""

    logprob: float
    rank: int
    top: list[Word]


class Lens(TypedDict):
    """Logit lens of one token: of the embedding, then of each layer."""

    target: str
    layers: list[LensLayer]


class Prediction(TypedDict):
    """What one model predicts where an answer token stands.

    ``logprob`` (nats) and ``rank`` (from 1) are those of the token; ``entropy`` is in nats;
    ``expects`` are the likeliest tokens with their probabilities, the token itself among them.
    """

    logprob: float
    rank: int
    entropy: float
    expects: list[Word]


class AnswerStep(TypedDict):
    """One token of an answer that both models read.

    ``kl`` is KL(tuned || base) and ``kl_back`` KL(base || tuned), nats; ``shift`` is one of
    `SHIFT_CLASSES`, by the token's rank under the model whose answer it is not.
    """

    base: Prediction
    tuned: Prediction
    kl: float
    kl_back: float
    shift: str


class HiddenSegment(TypedDict):
    """What hiding a whole segment of the prompt costs each token of an answer, nats.

    ``answer`` says whose it is: ``base``, ``tuned`` or ``given``. Positive where hiding the
    segment makes the token less likely.
    """

    segment: str
    answer: str
    base: list[float]
    tuned: list[float]


class HiddenSpan(TypedDict):
    """What hiding a span of the prompt costs tuned's answer in each model, nats.

    ``start`` is the span's first position.
    """

    start: int
    base: float
    tuned: float


class TemplateEffects(TypedDict):
    """What the weights and the chat template add to each token of the answer both models read.

    ``base`` and ``tuned`` are the token's log-probability with the prompt in its template,
    ``base_plain`` and ``tuned_plain`` with the prompt alone, without the positions ``left_out``;
    nats, as are the effects. ``weights`` is tuned less base, both in the template; ``template``
    what the template adds in tuned; ``together`` how much more it adds there than in base, so that
    tuned in the template is base without it, plus weights, plus template, less together.
    """

    left_out: list[int]
    base: list[float]
    tuned: list[float]
    base_plain: list[float]
    tuned_plain: list[float]
    weights: list[float]
    template: list[float]
    together: list[float]


class OtherText(TypedDict):
    """An answer's log-probability with other text in the chat template's place, in nats."""

    base: float
    tuned: float


class Part(TypedDict):
    """A part of tuned that is replaced, at every position, by what base computes there.

    ``kind`` is one of `PARTS`; ``layer`` and ``head`` are -1 where the part has none. ``nats`` of
    the shift and ``share`` of KL go with it alone.
    """

    kind: str
    layer: int
    head: int
    nats: float
    share: float


class PartOfSet(Part):
    """A part of a set; ``together`` and ``together_share`` are of it and all in front of it."""

    together: float
    together_share: float


class Carried(TypedDict):
    """What carries the difference of the two models' predictions, of an answer or one token.

    ``shift`` is log p(tuned) - log p(base) of the answer, ``kl`` KL(tuned || base), both in nats
    and summed over the tokens. A share is that of KL which is gone once base's parts are in
    place, 1 - KL(exchanged || base) / KL(tuned || base). ``blocks`` are whole blocks, each
    exchanged alone, the largest share first; ``weights`` the same blocks where instead of what
    they compute their weights are base's, empty where weights cannot be exchanged; ``parts`` the
    smallest set of heads, feed-forward blocks, embedding and unembedding found, out of ``count``,
    of which both the share and the part of the shift reach ``goal``; ``random`` the smaller of the
    two of as many parts drawn at random, one each draw.
    """

    shift: float
    kl: float
    goal: float
    count: int
    blocks: list[Part]
    weights: list[Part]
    parts: list[PartOfSet]
    random: list[float]


class ChangedBlock(TypedDict):
    """A block of base: its share of all ``weights``, and the ``length`` of what tuned adds to them.

    ``kind`` and ``layer`` as in `Part`; the length is that of the weights times this.
    """

    kind: str
    layer: int
    weights: float
    length: float


class Null(TypedDict):
    """How far the update moves base's predictions, and how far one would that learned nothing.

    ``update`` is KL of base plus a ``fraction`` of the update to base, at each answer token, in
    nats; ``scrambled`` the same with the sign of every entry of the update drawn anew, a list for
    each draw. The fraction is so small that no draw breaks the model. ``rounding`` is KL of tuned,
    rounded to bfloat16, to tuned; ``changed`` are all blocks of base with how far they were moved.
    """

    fraction: float
    update: list[float]
    scrambled: list[list[float]]
    rounding: list[float]
    changed: list[ChangedBlock]


#: A piece of a sentence and what it is: "" for plain words, ``base``, ``tuned``, ``token``.
Run: TypeAlias = tuple[str, str]


class Finding(TypedDict):
    """One thing that tuning changed, or did not, for this prompt.

    ``kind`` is a word of `FINDINGS`; ``title`` the sentence in a few words; ``text`` its number;
    ``checked`` how it was checked; ``panel`` and ``selection`` show it.
    """

    kind: str
    title: str
    text: list[Run]
    checked: str
    panel: str
    selection: dict[str, Any]


class BaseComponent(TypedDict):
    """A component of base: share of the variance, and words."""

    explained: float
    words: list[Word]


class TunedComponent(TypedDict):
    """Its match in tuned, with its number there."""

    index: int
    explained: float
    words: list[Word]


class MatchedComponent(TypedDict):
    """A component of base and its match in tuned; name and labels where components are labelled.

    ``doubt`` is one of `DOUBTS`; recordings made before it was told have none.
    """

    base: BaseComponent
    tuned: TunedComponent
    cosine: float
    angle: float
    doubt: NotRequired[str]
    name: NotRequired[str | None]
    labels: NotRequired[list[str]]


class EndWords(TypedDict):
    """Words of either end of a direction."""

    positive: list[Word]
    negative: list[Word]


class ComponentEnds(TypedDict):
    """Words of either end of a component and of its match."""

    base: EndWords
    tuned: EndWords


#: Layer, component as in its own model, cosine, and rank: 1 is the first word of a component.
ComponentPlace: TypeAlias = tuple[int, int, float, int]


class WordPlaces(TypedDict):
    """Components of both models in which a word stands out."""

    word: str
    base: list[ComponentPlace]
    tuned: list[ComponentPlace]


class RotationOfLayer(TypedDict):
    """How far a layer's k leading components are turned, beside random rotations (``null``).

    ``angle`` is the mean principal angle in degrees; ``inside`` the share of base's variance that
    tuned's leading components hold, ``own`` that base's own hold; ``weights`` the relative norm
    of the weight difference, and ``added`` the words of its first direction.
    """

    layer: int
    k: int
    angle: float
    null: float
    null_low: float
    null_high: float
    inside: float
    own: float
    null_inside: float
    weights: float
    null_weights: float
    added: list[Word]


class ActiveNeuron(TypedDict):
    """A neuron and its activation in each model; None where that has no such token."""

    layer: int
    neuron: int
    base: float | None
    tuned: float | None


#: The neurons that are listed for a token.
NeuronActivity: TypeAlias = list[ActiveNeuron]


class SideOfNeuron(TypedDict):
    """Length of a value vector, its words, and its words after the weight of the final norm."""

    norm: float
    words: list[Word]
    normed: list[Word]


class NeuronWords(TypedDict):
    """One neuron of both models, and the cosine of its two value vectors."""

    base: SideOfNeuron
    tuned: SideOfNeuron
    cosine: float


class UnitEffect(TypedDict):
    """What a token loses where it is read without a unit such as ``neuron:117``, nats.

    None where a model has no such token.
    """

    unit: str
    base: float | None
    tuned: float | None


class Written(TypedDict):
    """Activation times length of the value vector, in each model."""

    base: float | None
    tuned: float | None


class NeuronChange(TypedDict):
    """Whether a neuron's value vector moved, or the neuron is used more.

    ``moved`` is the length of the difference of the value vectors as a share of base's, ``used``
    the change of the activation's magnitude.
    """

    moved: float | None
    cosine: float
    base: float | None
    tuned: float | None
    used: float | None
    write: Written


class WordPairSearch(TypedDict):
    """How word pairs were found: settings, words, words without a vector, changed heads."""

    parameters: dict[str, Any]
    words: int
    missing: int
    heads_changed: int


#: A neuron, and what goes with it: nats of the shift, share of KL.
NeuronExchanged: TypeAlias = tuple[int, float, float]
#: Word, partner, and in how many neurons of the head the pair is, in base and in tuned.
WordPairRow: TypeAlias = tuple[str, str, int, int]


class WordPairRows(TypedDict):
    """Word pairs of one head that are in more than one neuron, and how many are not listed."""

    rows: list[WordPairRow]
    left_out: int


#: Layer, head, and pairs with the word in base and in tuned.
HeadOfWord: TypeAlias = tuple[int, int, int, int]
#: The heads in which a word is in any pair.
WordHeads: TypeAlias = list[HeadOfWord]


@dataclass(frozen=True)
class Faithfulness:
    """Agreement of a method with exact occlusion; None where too little is known.

    Attributes
    ----------
    spearman, pearson : float or None
        Mean correlation over answer tokens, -1 .. 1.
    top1 : float or None
        Share of the answer tokens that depend on the prompt (some scored token matters by 1 nat)
        where the estimate's largest scored token is the exact effect's too.
    above_noise : float or None
        Share of the exact cells whose effect is at least 0.1 nats either way.
    columns, columns_top1 : int
        Answer tokens behind the correlations, and behind `top1`.
    n, cells : int
        Exact cells it is computed on, and those there are.
    """

    spearman: float | None
    pearson: float | None
    top1: float | None
    above_noise: float | None
    columns: int
    columns_top1: int
    n: int
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``Faithfulness(**value)`` is the inverse."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class DeletionCurve:
    """Loss of the answer's log-probability as prompt tokens are hidden, one after the other.

    A faithful method has `most` far above `least`.

    Attributes
    ----------
    share : list of float [steps + 1]
        Share of the prompt tokens that is hidden, from 0 to 1.
    most, least : list of float [steps + 1]
        Drop in nats, summed over the answer, when those that matter most, or least, by the
        method's effect on the whole answer are hidden first.
    """

    share: list[float]
    most: list[float]
    least: list[float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``DeletionCurve(**value)`` is the inverse."""
        return dataclasses.asdict(self)


def name_of(form: Any) -> str:
    """A form as Python writes it, without modules."""
    text = form.__name__ if isinstance(form, type) and not hasattr(form, "__args__") else str(form)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
