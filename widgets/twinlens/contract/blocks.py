"""Which blocks exist, and what they mean.

Block keys (``S`` is ``base`` or ``tuned``; ``T = N + M`` positions of that side, ``C`` the
positions both sides share: ``T`` with a shared answer, else ``N``; ``L`` layers, ``H`` heads,
``K`` components and ``I`` neurons per layer; ``m`` is an answer token ``0 .. M-1``, or ``answer``
for the sum over the answer; effects are log-probability as it is less that without the thing):

==================================  ===========  ==============================================
key                                 value        meaning
==================================  ===========  ==============================================
``saliency/S/METHOD``               f32 [N, M]   effect of prompt token n on answer token m
``saliency/S/METHOD/m``             f32 [N]      one column of it
``saliency/S/METHOD/so_far``        f32 [N, M]   NaN where not computed yet; live traces only
``faithfulness/S/METHOD``           JSON         agreement with occlusion, on what is exact so far
``deletion/S/METHOD``               JSON         loss of the answer as prompt tokens are hidden
``groups/UNIT``                     JSON         prompt positions of each word, sentence, segment
``logprob/S``                       f32 [M]      log-probability of each answer token, nats
``alternatives/S``                  JSON         per answer token its five likeliest rivals
``disagreement``                    f32 [M]      KL(tuned || base) at each answer token, nats
``attention/S/l/h``                 f16 [T, T]   attention pattern, rows are queries, causal
``heads/change``                    f16 [C,L,H]  Jensen-Shannon divergence of the rows, bits
``heads/instruction/S``             f16 [T,L,H]  attention from a position to the instruction
``heads/sink/S``                    f16 [T,L,H]  attention from a position to the first token
``heads/received/S``                f16 [N,L,H]  mean attention of the answer to a prompt token
``heads/write/S/l/UNIT``            f16 [T,L,H]  head output along the unit's direction
``heads/entropy/S``                 f16 [T,L,H]  entropy of the attention row, bits
``heads/previous/S``                f16 [T,L,H]  attention to the token before; 0 at position 0
``heads/effect/S/m``                f32 [L,H]    first-order effect (gradient through a gate), nats
``heads/ablation/S/KIND/m``         f32 [L,H]    exact effect of the `TOP_HEADS` heads of largest
                                                 estimate, nats; NaN elsewhere
``heads/ablation/S/KIND/m/so_far``  f32 [L,H]    all exact effects that are there; live only
``heads/ablation/S/KIND/m/l/h``     f32 [1]      exact effect of one head
``heads/circuits``                  f32 [L,H,4]  relative difference and cosine of the query-key
                                                 circuit, then of the value-output circuit
``word_pairs/info``                 JSON         how word pairs were found, and how much changed
``word_pairs/counts``               f32 [L,H,3]  pairs of a head that tuned gained, both have,
                                                 and it lost
``word_pairs/l/h``                  JSON         word pairs of one head
``word_pairs/find/WORD``            JSON         heads in which a word is in any pair
``shift/attention``                 f32 [C, L]   relative difference of attention outputs
``shift/feed_forward``              f32 [C, L]   relative difference of feed-forward outputs
``shift/residual``                  f32 [C,L+1]  relative difference of the residual stream
``lens/S/t``                        JSON         logit lens where token t is predicted
``components/change``               f32 [L]      mean of 1 - cosine over the matched components
``components/l``                    JSON         K matched components of layer l with words
``activations/S/l/components``      f16 [T, K]   feed-forward output along each component
``components/l/ends``               JSON         words of either end of each component
``activations/tuned/l/base_components``  f16 [T, K]  tuned's output along *base's* components
``concepts/find/WORD``              JSON         components in which a word stands out
``rotation``                        JSON         how far each layer's components are turned
``neurons/l/t``                     JSON         most active and most changed neurons at token t
``neurons/effect/S/m``              f32 [L, I]   what each neuron adds, first order, nats
``neuron/ablation/S/l/n/m``         f32 [1]      the same of one neuron, exactly
``neuron/change/l/n/t``             JSON         whether the vector moved or it is used more
``neuron/l/n``                      JSON         one neuron of both models with words
``activations/S/l/neuron/n``        f16 [T]      activation of one neuron along the tokens
==================================  ===========  ==============================================

In ``heads/effect`` and ``heads/ablation`` the effect is on the log-probability of answer token
``m`` (0 .. M-1), or with ``m`` = ``answer`` on that of the whole answer (the sum over its tokens):
positive where the head raises it. ``KIND`` is one of `ABLATIONS`: the head's output is replaced
at every position by zero, by its mean over the positions of the text, or by what the other model
gives there (shared answers only).

JSON forms::

    faithfulness/S/METHOD   the fields of `twinlens.contract.forms.Faithfulness`
    deletion/S/METHOD  the fields of `twinlens.contract.forms.DeletionCurve`
    groups/UNIT      [[position, ...], ...]   UNIT is word, sentence or segment
    alternatives/S   [[[text, probability], ...five], ... M]
    lens/S/t         {"target": text, "layers": [{"logprob": nats, "rank": 1-based,
                      "top": [[text, probability], ...five]}, ... L + 1]}   (0 is the embedding)
    components/l     [{"base": {"explained": share, "words": [[word, cosine], ...]},
                       "tuned": {"index": k, "explained": share, "words": [...]},
                       "cosine": c, "angle": degrees}, ... K]
                     entry k is component k of base and its match in tuned, signs aligned
                     and, where components are labelled, "name": text or null, "labels": [...]
    components/l/ends  [{"base": {"positive": [[word, cosine], ...], "negative": [...]},
                       "tuned": {...}}, ... K]   in the order and with the signs of components/l
    concepts/find/WORD  {"word": text, "base": [[layer, component, cosine, rank], ...],
                       "tuned": [...]}   best first, at most 20 each; components are numbered as
                     in their own model, rank 1 is the first word of a component
    rotation         [{"layer": l, "k": count, "angle": mean principal angle of the k leading
                       components in degrees, "null": the same for random rotations, "null_low":
                       x, "null_high": x, "inside": share of base's variance that tuned's k
                       leading components hold, "own": that base's own hold, "null_inside": x,
                       "weights": relative norm of the weight difference, "null_weights": x,
                       "added": [[word, cosine], ...] of the difference's first direction}, ... L]
    neurons/l/t      [{"layer": l, "neuron": n, "base": activation, "tuned": activation}, ...];
                     l may be "all", t may be "answer" (mean magnitude where it is predicted)
    neuron/l/n       {"base": {"norm": x, "words": [[word, score], ...], "normed": the words after
                      the weight of the final norm}, "tuned": {...},
                      "cosine": of the two value vectors}
    word_pairs/info  {"parameters": {...}, "words": count, "missing": words without a vector,
                      "heads_changed": heads whose pairs differ between the models}
    word_pairs/l/h   {"rows": [[word, partner, neurons_base, neurons_tuned], ...],
                      "left_out": pairs not listed}   most neurons first; a pair counts that is in
                     more than one neuron, else its number is 0
    word_pairs/find/WORD   [[layer, head, pairs_base, pairs_tuned], ...]   most gained first
    neuron/change/l/n/t  {"moved": relative norm of the difference of the value vectors, "cosine":
                      of the two, "base": activation, "tuned": activation, "used": change of the
                      activation's magnitude, "write": {"base": activation times norm, "tuned": x}}
    words            sorted by absolute score, largest first; the sign is kept
"""

from __future__ import annotations


def is_causal(key: str) -> bool:
    """Whether the block of this key is a lower-triangular matrix."""
    return key.startswith("attention/")


def is_exact(key: str) -> bool:
    """Whether the numbers of this key stay as they are where others are rounded to 8 bits."""
    return key.startswith(("heads/circuits", "heads/effect/", "heads/ablation/", "word_pairs/"))


def grows(key: str) -> bool:
    """Whether a block says how far a computation has come, so that it is no answer for good."""
    return key.startswith("faithfulness/") or key.endswith("/so_far")
