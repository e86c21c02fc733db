"""Which blocks exist: every fact about one is in its row here.

A row is the builder of its keys: ``blocks.attention("base", 3, 5)`` is ``attention/base/3/5``.
The order of the rows is that of recordings, the most useful first, so that a cut keeps the best.
`lookup.documentation` makes a table of them, `lookup.read` checks a key against a trace.

In forms, ``T = N + M`` are the positions of a side, N of the prompt and M of its answer; ``C``
the positions both sides share: ``T`` with a shared answer, else ``N``; ``L`` layers, ``H`` heads,
``K`` components and ``I`` neurons per layer, ``B`` a layer's output and its two blocks. Answer
tokens count from 0 in an answer, tokens from 0 in the prompt. An effect is a log-probability as it
is, less that without the thing, in nats: positive where the thing raises it. What is of heads is
NaN in layers without attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec

from twinlens.contract import forms, update_forms
from twinlens.contract.block import Block
from twinlens.contract.words import ChartTheme, Side

P = ParamSpec("P")

#: All blocks by name, in the order of recordings.
BLOCKS: dict[str, Block[Any]] = {}


def block(pattern: str, form: Any, **flags: bool) -> Callable[[Callable[P, None]], Block[P]]:
    """Declare a block, see `Block`."""

    def declare(declaration: Callable[P, None]) -> Block[P]:
        new_block = Block(declaration, pattern, form, **flags)
        BLOCKS[new_block.name] = new_block
        return new_block

    return declare


# Rows: in the order of recordings.


@block("findings", list[forms.Finding])
def findings() -> None:
    """What tuning changed for this prompt, at most five, the most telling first."""


@block("answer/steps", list[forms.AnswerStep], shared=True)
def answer_steps() -> None:
    """What each model predicts at each token of the answer both read."""


@block("segments", list[forms.HiddenSegment])
def hidden_segments() -> None:
    """What hiding each segment of the prompt costs each model's own answer, or a given one."""


@block("segments/elsewhere", list[forms.HiddenSpan], recorded=False)
def hidden_elsewhere() -> None:
    """The same of spans as long as the instruction, without its tokens; on tuned's answer."""


@block("template", forms.TemplateEffects, shared=True)
def template() -> None:
    """What the weights and what the chat template add to each answer token, nats."""


@block("template/other_text", list[forms.OtherText], shared=True, recorded=False)
def other_texts() -> None:
    """What the answer is worth to both models with other text as long in the template's place."""


@block("null", forms.Null, shared=True)
def null() -> None:
    """How far the update moves predictions beside the same with its signs drawn anew."""


@block("carried/{answer_token|answer}", forms.Carried, shared=True, costly=True)
def carried(answer_token: int | None) -> None:
    """Which parts of tuned carry the difference of the predictions: measured as a set."""


@block("update", update_forms.UpdateTaken, shared=True)
def update() -> None:
    """The update as singular directions: what each did, and the smallest set that keeps it."""


@block("update/dial/{part}", update_forms.UpdateDial, shared=True, recorded=False)
def update_dial(part: str) -> None:
    """The answer while a part of the update, such as ``layer:3``, is turned up and down."""


@block("update/finding", list[forms.Finding], shared=True)
def update_finding() -> None:
    """What is said of the update once it is taken apart: a sentence, or none."""


@block("saliency/{side}/{method}", "f32 [N, M]", exact=True)
def saliency(side: Side, method: str) -> None:
    """Effect of every prompt token on every answer token, in the unit of the method."""


@block("saliency/{side}/{method}/{answer_token}", "f32 [N]", recorded=False)
def saliency_column(side: Side, method: str, answer_token: int) -> None:
    """One column of it."""


@block("saliency/{side}/{method}/so_far", "f32 [N, M]", grows=True, recorded=False)
def saliency_so_far(side: Side, method: str) -> None:
    """What of it is computed already, NaN elsewhere."""


@block("faithfulness/{side}/{method}", forms.Faithfulness, grows=True)
def faithfulness(side: Side, method: str) -> None:
    """Agreement of a method with occlusion, on what of that is computed."""


@block("deletion/{side}/{method}", forms.DeletionCurve, costly=True)
def deletion(side: Side, method: str) -> None:
    """Loss of the answer as prompt tokens are hidden, one after the other."""


@block("groups/{grouping}", list[list[int]])
def groups(grouping: str) -> None:
    """Prompt positions of each word, sentence or segment."""


@block("answer/own/{side}", forms.OwnAnswer)
def own_answer(side: Side) -> None:
    """What a model answers by itself; recorded where it is not the answer that is read."""


@block("heads/change", "f16 [C, L, H]")
def head_change() -> None:
    """Jensen-Shannon divergence of the two models' attention rows, bits."""


@block("heads/instruction/{side}", "f16 [T, L, H]")
def head_instruction(side: Side) -> None:
    """Attention from a position to the instruction."""


@block("heads/sink/{side}", "f16 [T, L, H]")
def head_sink(side: Side) -> None:
    """Attention from a position to the first token."""


@block("heads/received/{side}", "f16 [N, L, H]")
def head_received(side: Side) -> None:
    """Mean attention of the answer to a prompt token."""


@block("heads/entropy/{side}", "f16 [T, L, H]")
def head_entropy(side: Side) -> None:
    """Entropy of an attention row, bits."""


@block("heads/previous/{side}", "f16 [T, L, H]")
def head_previous(side: Side) -> None:
    """Attention to the token before; 0 at position 0."""


@block("heads/effect/{side}/{answer_token|answer}", "f32 [L, H]", exact=True)
def head_effect(side: Side, answer_token: int | None) -> None:
    """First-order effect of every head (gradient through a gate), nats."""


@block("heads/ablation/{side}/{ablation}/{answer_token|answer}", "f32 [L, H]", exact=True)
def head_ablation(side: Side, ablation: str, answer_token: int | None) -> None:
    """Exact effect of the `TOP_HEADS` heads of largest estimate, nats; NaN elsewhere.

    The head's output is replaced at every position by zero, by its mean over the positions of the
    text, or by what the other model gives there (shared answers only).
    """


@block(
    "heads/ablation/{side}/{ablation}/{answer_token|answer}/so_far",
    "f32 [L, H]",
    exact=True,
    grows=True,
    recorded=False,
)
def head_ablation_so_far(side: Side, ablation: str, answer_token: int | None) -> None:
    """All exact effects that are computed already, nats; NaN elsewhere."""


@block(
    "heads/ablation/{side}/{ablation}/{answer_token|answer}/{layer}/{head}",
    "f32 [1]",
    exact=True,
    recorded=False,
)
def head_ablation_one(
    side: Side, ablation: str, answer_token: int | None, layer: int, head: int
) -> None:
    """Exact effect of one head, nats."""


@block("heads/circuits", "f32 [L, H, 4]", exact=True)
def head_circuits() -> None:
    """Relative difference and cosine of the query-key circuit, then of the value-output circuit."""


@block("shift/attention", "f32 [C, L]")
def shift_attention() -> None:
    """Relative difference of attention outputs."""


@block("shift/feed_forward", "f32 [C, L]")
def shift_feed_forward() -> None:
    """Relative difference of feed-forward outputs."""


@block("shift/residual", "f32 [C, L+1]")
def shift_residual() -> None:
    """Relative difference of the residual stream: of the embedding, then after each layer."""


@block("disagreement", "f32 [M]", shared=True, exact=True)
def disagreement() -> None:
    """KL(tuned || base) at each answer token, nats."""


@block("alternatives/{side}", forms.Alternatives)
def alternatives(side: Side) -> None:
    """The five likeliest rivals of each answer token."""


@block("logprob/{side}", "f32 [M]", exact=True)
def logprob(side: Side) -> None:
    """Log-probability of each answer token, nats."""


@block("components/change", "f32 [L]")
def component_change() -> None:
    """Mean of 1 - cosine over the matched components."""


@block("components/{layer}", list[forms.MatchedComponent])
def components(layer: int) -> None:
    """The K components of base, each with its match in tuned, signs aligned, and their words."""


@block("components/{layer}/ends", list[forms.ComponentEnds], recorded=False)
def component_ends(layer: int) -> None:
    """Words of either end of each component, in the order and with the signs of `components`."""


@block("rotation", list[forms.RotationOfLayer])
def rotation() -> None:
    """How far each layer's leading components are turned, beside random rotations."""


@block("activations/{side}/{layer}/components", "f16 [T, K]")
def component_activations(side: Side, layer: int) -> None:
    """Feed-forward output along each component of the same model."""


@block("activations/tuned/{layer}/base_components", "f16 [T, K]")
def base_component_activations(layer: int) -> None:
    """Tuned's feed-forward output along *base's* components."""


@block("lens/{side}/{token}", forms.Lens)
def lens(side: Side, token: int) -> None:
    """Logit lens where a token is predicted; recordings hold those of the answer."""


@block("lens_table/{side}/{unembedding}", "f32 [L+1, M, 2]", exact=True)
def lens_table(side: Side, unembedding: Side) -> None:
    """Logit lens of the whole answer: each token's log-probability (nats) and rank (from 1).

    The residual stream of a side where each answer token is predicted, of the embedding and after
    each layer, read with the final norm and unembedding of either model.
    """


@block("handover/{side}", "f32 [L+1, M, 2]", shared=True, exact=True, costly=True)
def handover(side: Side) -> None:
    """Answer under the first l layers of a side and the other model's above them.

    Log-probability of each answer token, and KL(tuned || this), nats. At l = 0 the other model
    itself; from l = 1 on the embedding goes with the layers; at l = L only the final norm and the
    unembedding are the other model's.
    """


@block(
    "exchanged/{side}/{token|everywhere}/{answer_token|answer}",
    "f32 [L+1, B, 2]",
    shared=True,
    exact=True,
    costly=True,
)
def exchanged(side: Side, token: int | None, answer_token: int | None) -> None:
    """What goes with each part of a layer: replaced, alone, by what the other model computes there.

    Of the embedding (an output only, else 0) and of every layer the output, what attention and
    what the feed-forward block adds; in nats of the shift, log p(tuned) - log p(base), and as the
    share of KL to the other model that is gone. Where a token is read, or at every position.
    """


@block(
    "exchanged/{side}/{token|everywhere}/{answer_token|answer}/{layer}",
    "f32 [H, 2]",
    shared=True,
    exact=True,
)
def exchanged_heads(side: Side, token: int | None, answer_token: int | None, layer: int) -> None:
    """The same of every head of a layer, with its output weights. Recorded of small models."""


@block(
    "exchanged/{side}/{token|everywhere}/{answer_token|answer}/{layer}/{neuron}",
    "f32 [1, 2]",
    shared=True,
    exact=True,
    recorded=False,
)
def exchanged_neuron(
    side: Side, token: int | None, answer_token: int | None, layer: int, neuron: int
) -> None:
    """The same of one neuron: its activation and its value vector."""


@block(
    "exchanged_neurons/{side}/{token|everywhere}/{answer_token|answer}/{layer}",
    list[forms.NeuronExchanged],
    shared=True,
    exact=True,
)
def exchanged_neurons(side: Side, token: int | None, answer_token: int | None, layer: int) -> None:
    """The neurons of a layer whose exchange changes most, measured one by one, most first.

    Twelve of largest estimate: gradients of the KL, integrated while the layer's feed-forward block
    becomes the other model's. Recorded of small models, of tuned for the whole answer.
    """


@block("attention/{side}/{layer}/{head}", "f16 [T, T]", causal=True)
def attention(side: Side, layer: int, head: int) -> None:
    """Attention pattern; rows are queries. Recorded in the order of change."""


@block("heads/write/{side}/{layer}/{unit}", "f16 [T, L, H]")
def head_write(side: Side, layer: int, unit: str) -> None:
    """Output of every head along the direction of a unit such as ``component:2``."""


@block("word_pairs/info", forms.WordPairSearch, exact=True)
def word_pair_info() -> None:
    """How word pairs were found, and how much changed."""


@block("word_pairs/counts", "f32 [L, H, 3]", exact=True)
def word_pair_counts() -> None:
    """Pairs of a head that tuned gained, that both have, and that it lost."""


@block("word_pairs/{layer}/{head}", forms.WordPairRows, exact=True)
def word_pairs(layer: int, head: int) -> None:
    """Word pairs of one head, those of most neurons first."""


@block("word_pairs/find/{word}", forms.WordHeads, exact=True, recorded=False)
def word_pair_find(word: str) -> None:
    """Heads in which a word is in any pair, most gained first."""


@block("concepts/find/{word}", forms.WordPlaces, recorded=False)
def concept_find(word: str) -> None:
    """Components in which a word stands out, at most 20 of each model, best first."""


@block("units/{layer}/{token}", list[forms.UnitEffect])
def unit_effects(layer: int, token: int) -> None:
    """What a token loses without each unit of a layer where it is read, measured; largest first.

    Of all components those of largest effect, and the neurons of largest estimate; of a prompt
    token it is what the whole answer loses.
    """


@block("units/{layer}/{token}/estimate", list[forms.UnitEffect], recorded=False)
def unit_estimates(layer: int, token: int) -> None:
    """The same by gradients, integrated while the layer's feed-forward block goes away there."""


@block("neurons/effect/{side}/{answer_token|answer}", "f32 [L, I]")
def neuron_effect(side: Side, answer_token: int | None) -> None:
    """What each neuron adds to an answer token, first order, nats."""


@block("neurons/{layer|all}/{token|answer}", forms.NeuronActivity)
def neurons(layer: int | None, token: int | None) -> None:
    """Most active and most changed neurons at a token, or by mean magnitude over the answer."""


@block("activations/{side}/{layer}/neuron/{neuron}", "f16 [T]")
def neuron_activations(side: Side, layer: int, neuron: int) -> None:
    """Activation of one neuron along the tokens."""


@block("neuron/{layer}/{neuron}", forms.NeuronWords)
def neuron_words(layer: int, neuron: int) -> None:
    """One neuron of both models with words."""


@block("neuron/ablation/{side}/{layer}/{neuron}/{answer_token|answer}", "f32 [1]", recorded=False)
def neuron_ablation(side: Side, layer: int, neuron: int, answer_token: int | None) -> None:
    """What one neuron adds to an answer token, exactly, nats."""


@block("neuron/change/{layer}/{neuron}/{token|answer}", forms.NeuronChange, recorded=False)
def neuron_change(layer: int, neuron: int, token: int | None) -> None:
    """Whether a neuron's value vector moved, or the neuron is used more."""


@block("chart/{chart}/{theme}", dict[str, Any], exact=True, page=True, recorded=False)
def chart(chart: str, theme: ChartTheme) -> None:
    """A Bokeh chart, as BokehJS embeds it."""


@block("asset/bokehjs", str, page=True, recorded=False)
def bokeh_script() -> None:
    """What charts use of BokehJS, of the installed Bokeh, so that both halves have one version."""


#: Measures of the rows of attention, each an array by position, layer and head.
HEAD_MEASURES: dict[str, Block[[Side]]] = {
    "instruction": head_instruction,
    "sink": head_sink,
    "received": head_received,
    "entropy": head_entropy,
    "previous": head_previous,
}
#: How far the parts of a layer moved.
SHIFTS: dict[str, Block[[]]] = {
    "attention": shift_attention,
    "feed_forward": shift_feed_forward,
    "residual": shift_residual,
}
