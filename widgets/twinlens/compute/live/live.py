"""Live traces: blocks computed on demand from the two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from twinlens.compute.concepts.neurons import Neurons
from twinlens.compute.heads import attention as heads
from twinlens.compute.heads.blocks import HeadBlocks
from twinlens.compute.keys import index as _index
from twinlens.compute.live import lens
from twinlens.compute.passes.capture import Capture, capture
from twinlens.compute.saliency.registry import METHODS
from twinlens.compute.saliency.tables import Effects, methods
from twinlens.compute.text.answers import read_answers
from twinlens.compute.text.pieces import pieces
from twinlens.compute.text.prompt import Spans, check_length, read_prompt
from twinlens.compute.words.rows import LOOKED_UP_TOGETHER
from twinlens.contract.blocks import grows
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array, Value, half
from twinlens.contract.words import SIDES, UNITS, Side, parse_unit, reading_position
from twinlens.errors import UnknownBlockError
from twinlens.measures.differences import relative_difference
from twinlens.support.lru import Cache
from twinlens.support.progress import Report
from twinlens.traces.grouping import groups
from twinlens.traces.trace import Trace

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

#: Components per layer whose ``heads/write`` blocks a recording keeps.
WRITTEN = 3
_CACHE_BYTES = 64 * 2**20


def trace_pair(
    pair: Pair,
    prompt: str,
    *,
    instruction: Spans = None,
    context: Spans = None,
    response: str = "own",
    max_new_tokens: int = 64,
    template: bool = False,
    report: Report | None = None,
) -> LiveTrace:
    """Run both models on a prompt and keep what happens inside.

    Parameters
    ----------
    pair : Pair
    prompt : str
    instruction, context : str, (start, end), or a sequence of these, optional
        Parts of the prompt, see `read_prompt`.
    response : str
        ``"own"``: each model reads its own greedy answer. ``"shared"`` or ``"tuned"``: both read
        tuned's. ``"base"``: both read base's. Anything else is the text both read.
    max_new_tokens : int
        Longest answer.
    template : bool
        Put the prompt into the tuned model's chat template.
    report : callable, optional
        Called as ``report(done, total, what)``; may raise `Interrupted`.

    Raises
    ------
    PromptError, AnswerError
        If there is nothing to read or to explain, or it does not fit.
    NotFiniteError
        If a model computes NaN or infinity.
    """
    read = read_prompt(pair, prompt, instruction=instruction, context=context, template=template)
    check_length(pair, read, max_new_tokens)
    kind, answers = read_answers(pair, read, response, max_new_tokens, report)
    captures: dict[Side, Capture] = {}
    # Tuned first: with memory="sequential" it is the one still loaded.
    for place, side in enumerate(reversed(SIDES)):
        if report:
            report(place, len(SIDES), f"reading with {side}")
        with pair.model(side) as model:
            captures[side] = capture(
                model,
                [*read.ids, *(token.id for token in answers[side].tokens)],
                len(read.tokens),
                side=side,
            )
    manifest = Manifest(
        pair=pair.info,
        prompt=read.text,
        prompt_tokens=read.tokens,
        answers=answers,
        response=kind,
        shared=kind != "own",
        methods=methods(),
        parameters={
            "max_new_tokens": max_new_tokens,
            "template": template,
            "decoding": "greedy",
            "attention": "float16",
            "components": pair.concepts.count,
            "words": pair.concepts.settings.words,
            "vocabulary": pair.concepts.source,
        },
    )
    return LiveTrace(pair, manifest, captures)


class LiveTrace(Trace):
    """A trace that computes its blocks on demand; made by `trace_pair`.

    Blocks that are there already are answered without waiting for a model. Work on a model holds
    the pair's lock; saliency lets go of it between pieces, so that other blocks get through.
    Safe to ask from several threads.

    Attributes
    ----------
    manifest : Manifest
    pair : Pair
    effects : Effects
        Saliency tables, deletion curves, knock-out gradients by head.
    heads : HeadBlocks
        Measures and effects of attention heads.
    """

    def __init__(self, pair: Pair, manifest: Manifest, captures: dict[Side, Capture]) -> None:
        self.manifest = manifest
        self.pair = pair
        self._captures = captures
        self._ids = {
            side: [t.id for t in (*manifest.prompt_tokens, *manifest.answers[side].tokens)]
            for side in SIDES
        }
        self.effects = Effects(pair, manifest, {side: captures[side].logprobs for side in SIDES})
        self.heads = HeadBlocks(pair, manifest, captures)
        self._neurons = Neurons(pair, manifest, captures)
        self._cache = Cache(_CACHE_BYTES)
        self._due: dict[tuple[int, int], None] = {}

    def block(self, key: str, report: Report | None = None) -> Value:
        """The value behind a key, see `twinlens.contract.blocks`; arrays are read-only."""
        value = self._cache.get(key)
        if value is None:
            value = self._compute(key, report)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            if not self._changes(key):
                self._cache.put(key, value)
        return value

    def keys(self) -> Iterator[str]:
        """Keys of a complete recording, the most useful first.

        With ``memory="sequential"`` single neurons are left out: each would load both models.
        """
        m, pair = self.manifest, self.pair.info
        depth, first = range(pair.layers), m.prompt_length
        kept = {side: self.effects.recorded(side) for side in SIDES}
        for block in ("saliency", "faithfulness", "deletion"):
            yield from (f"{block}/{side}/{name}" for side in SIDES for name in kept[side])
        yield from (f"groups/{unit}" for unit in UNITS[1:])
        yield from self.heads.keys()
        yield from (f"shift/{name}" for name in ("attention", "feed_forward", "residual"))
        if m.shared:
            yield "disagreement"
        for name in ("alternatives", "logprob"):
            yield from (f"{name}/{side}" for side in SIDES)
        yield "components/change"
        yield from (f"components/{layer}" for layer in depth)
        yield "rotation"
        for side in SIDES:
            yield from (f"activations/{side}/{layer}/components" for layer in depth)
        yield from (f"activations/tuned/{layer}/base_components" for layer in depth)
        for side in SIDES:
            yield from (f"lens/{side}/{t}" for t in range(first, m.length(side)))
        change = self.head_change()
        for place in np.argsort(-change, axis=None, kind="stable").tolist():
            layer, head = divmod(place, pair.heads)
            yield from (f"attention/{side}/{layer}/{head}" for side in SIDES)
        written = range(min(WRITTEN, self.pair.concepts.count))
        for side in SIDES:
            yield from (
                f"heads/write/{side}/{layer}/component:{k}" for layer in depth for k in written
            )
        yield from self.heads.word_keys()
        yield from (f"neurons/effect/{side}/answer" for side in SIDES)
        mentioned: dict[tuple[int, int], None] = {}
        for t in ("answer", *range(first, max(m.length(side) for side in SIDES))):
            for layer in ("all", *depth):
                yield f"neurons/{layer}/{t}"
                listed = cast(list[dict[str, Any]], self.block(f"neurons/{layer}/{t}"))
                mentioned.update({(entry["layer"], entry["neuron"]): None for entry in listed})
        self._due = mentioned
        for layer, neuron in mentioned:
            yield from (f"activations/{side}/{layer}/neuron/{neuron}" for side in SIDES)
            if self.pair.memory == "both":
                yield f"neuron/{layer}/{neuron}"

    def _words_of(self, layer: int, neuron: int) -> Value:
        """Words of a neuron, looked up with others of its layer that a recording asks for later."""
        keys = {other: f"neuron/{layer}/{other}" for at, other in self._due if at == layer}
        later = [i for i, key in keys.items() if i != neuron and self._cache.get(key) is None]
        together = [neuron, *later][: LOOKED_UP_TOGETHER // 2]
        found = self.pair.concepts.neurons(layer, together)
        for other, block in zip(together[1:], found[1:], strict=True):
            self._cache.put(keys[other], block)
        return found[0]

    def _changes(self, key: str) -> bool:
        """Whether the value is no answer for good: saliency so far, or names that may be given."""
        return grows(key) or key.startswith("components/")

    def _compute(self, key: str, report: Report | None) -> Value:
        # One level of dispatch; what cannot be parsed falls through to the error below.
        match key.split("/"):
            case ["saliency", side, name, *rest] if side in SIDES and name in METHODS:
                return self._saliency(key, side, name, rest, report)
            case ["faithfulness", side, name] if side in SIDES and name in METHODS:
                return self.effects.faithfulness(side, name, report).to_json()
            case ["deletion", side, name] if side in SIDES and name in METHODS:
                return self.effects.deletion(side, name, report=report).to_json()
            case ["groups", unit] if unit in UNITS:
                return [list(group) for group in groups(self.manifest.prompt_tokens, unit)]
            case ["logprob", side] if side in SIDES:
                index = torch.tensor(self._answer_ids(side))[:, None]
                return self._captures[side].logprobs.gather(1, index)[:, 0].numpy()
            case ["alternatives", side] if side in SIDES:
                return self._alternatives(side)
            case ["disagreement"]:
                return self._disagreement()
            case ["attention", side, layer, head] if side in SIDES:
                which = _index(key, head, self.pair.sizes.heads, "head")
                return self._captures[side].attention[self._layer(key, layer), which].numpy()
            case ["heads", "write", side, layer, unit] if side in SIDES:
                return self._write(key, side, self._layer(key, layer), unit)
            case ["heads" | "word_pairs", *_]:
                return self.heads.block(key, report)
            case ["shift", ("attention" | "feed_forward" | "residual") as name]:
                return self._shift(name)
            case ["lens", side, token] if side in SIDES:
                return self._lens(key, side, token)
            case ["components", "change"]:
                return self.pair.concepts.change(report)
            case ["components", layer]:
                return self.pair.concepts.components(self._layer(key, layer))
            case ["components", layer, "ends"]:
                return self.pair.concepts.ends(self._layer(key, layer))
            case ["concepts", "find", *word]:
                return self.pair.concepts.find("/".join(word), report)
            case ["rotation"]:
                return self.pair.concepts.rotation(report)
            case ["activations", side, layer, "components"] if side in SIDES:
                return self._along(side, side, self._layer(key, layer))
            case ["activations", "tuned", layer, "base_components"]:
                return self._along("tuned", "base", self._layer(key, layer))
            case ["activations", side, layer, "neuron", neuron] if side in SIDES:
                activations = self._captures[side].neurons[self._layer(key, layer)]
                return half(activations[:, self._neuron(key, neuron)].numpy())
            case ["neurons", "effect", side, answer] if side in SIDES:
                return self._neurons.effects(side, self._columns(key, side, answer))
            case ["neurons", layer, token]:
                place = None if layer == "all" else self._layer(key, layer)
                return self._neurons.listed(place, self._position(key, token))
            case ["neuron", "ablation", side, layer, neuron, answer] if side in SIDES:
                where = self._layer(key, layer), self._neuron(key, neuron)
                return self._neurons.ablation(side, *where, self._columns(key, side, answer))
            case ["neuron", "change", layer, neuron, token]:
                where = self._layer(key, layer), self._neuron(key, neuron)
                return self._neurons.change(*where, self._position(key, token))
            case ["neuron", layer, neuron]:
                place = self._layer(key, layer)
                return self._words_of(place, self._neuron(key, neuron))
        raise UnknownBlockError(f"there is no block {key!r}")

    def _saliency(
        self, key: str, side: Side, name: str, rest: Sequence[str], report: Report | None
    ) -> Array:
        match rest:
            case []:
                return self.effects.table(side, name, report=report)
            case ["so_far"]:
                return self.effects.so_far(side, name)
            case [column]:
                place = _index(key, column, self.manifest.answer_length(side), "answer token")
                return self.effects.table(side, name, [place], report)[:, place].copy()
        raise UnknownBlockError(f"there is no block {key!r}")

    def _alternatives(self, side: Side) -> list[Any]:
        show = pieces(self.pair.tokenizers[side])
        rows = zip(self._captures[side].logprobs, self._answer_ids(side), strict=True)
        return [lens.likeliest(row, show, besides=own) for row, own in rows]

    def _disagreement(self) -> Array:
        if not self.manifest.shared:
            raise UnknownBlockError(
                "disagreement needs one answer read by both models: trace with response='shared'"
            )
        rows = [self._captures[side].logprobs for side in SIDES]
        # Where one model has extra tokens: over those both have.
        both = min(row.shape[1] for row in rows)
        base, tuned = (row[:, :both].double().log_softmax(dim=-1) for row in rows)
        return (tuned.exp() * (tuned - base)).sum(dim=-1).clamp_min(0).float().numpy()

    def _write(self, key: str, side: Side, layer: int, unit: str) -> Array:
        try:
            kind, number = parse_unit(unit)
        except ValueError as error:
            raise UnknownBlockError(f"there is no block {key!r}: {error}") from error
        if kind == "component":
            place = _index(key, str(number), self.pair.concepts.count, "component")
            direction = torch.from_numpy(self.pair.concepts.directions(side, layer)[place])
        else:
            vector = self.pair.concepts.value_vector(side, layer, self._neuron(key, str(number)))
            direction = torch.nn.functional.normalize(vector, dim=0)
        with self.pair.model(side) as model:
            return half(heads.write(self._captures[side], model, direction))

    def _shift(self, name: str) -> Array:
        field = name if name == "residual" else f"{name}_out"
        common = self.manifest.common_length
        base, tuned = (getattr(self._captures[side], field)[:, :common].numpy() for side in SIDES)
        return relative_difference(base, tuned).T.astype(np.float32)

    def _lens(self, key: str, side: Side, token: str) -> dict[str, Any]:
        m = self.manifest
        at = _index(key, token, m.length(side), "token")
        # With one model at a time, do the whole answer while it is there.
        together = range(m.prompt_length, m.length(side)) if self.pair.memory != "both" else ()
        show = pieces(self.pair.tokenizers[side])
        found: dict[int, dict[str, Any]] = {}
        with self.pair.model(side) as model:
            for t in (at, *together):
                position = reading_position(t, m.prompt_length)
                logprobs = lens.logit_lens(model, self._captures[side].residual[:, position])
                found[t] = lens.lens_block(logprobs, self._ids[side][position + 1], show)
        for t, value in found.items():
            self._cache.put(f"lens/{side}/{t}", value)
        return found[at]

    def _along(self, side: Side, of: Side, layer: int) -> Array:
        """Feed-forward output of one side along the components of a model."""
        outputs = self._captures[side].feed_forward_out[layer].numpy()
        return half(outputs @ self.pair.concepts.directions(of, layer).T)

    def _answer_ids(self, side: Side) -> list[int]:
        return self._ids[side][self.manifest.prompt_length :]

    def _position(self, key: str, text: str) -> int | None:
        """A position, or None for the whole answer."""
        if text == "answer":
            return None
        return _index(key, text, max(self.manifest.length(side) for side in SIDES), "token")

    def _columns(self, key: str, side: Side, text: str) -> list[int]:
        """One answer token, or all."""
        count = self.manifest.answer_length(side)
        return (
            list(range(count)) if text == "answer" else [_index(key, text, count, "answer token")]
        )

    def _layer(self, key: str, text: str) -> int:
        return _index(key, text, self.pair.sizes.layers, "layer")

    def _neuron(self, key: str, text: str) -> int:
        return _index(key, text, self.pair.sizes.intermediate, "neuron")
