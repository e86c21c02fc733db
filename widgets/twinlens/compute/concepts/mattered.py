"""Which units of a layer mattered where a token is read: what the token loses without each.

The estimate integrates gradients while the whole feed-forward block goes away there, from all of it
to nothing: where an answer is certain the gradient at all of it is none. It adds up to what the
block does. The effect itself is measured with the unit's part taken off the block's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from twinlens.compute.concepts.units import Concepts
from twinlens.compute.models import architectures
from twinlens.compute.models.architectures import value_vectors
from twinlens.compute.models.derivatives import check_differentiable
from twinlens.compute.passes.answer_scores import logprobs
from twinlens.compute.passes.capture import Capture
from twinlens.compute.passes.footprint import fits
from twinlens.compute.passes.integrals import points_on_the_way
from twinlens.compute.passes.onward import onward
from twinlens.compute.passes.reading import Reading, log_probability, precise
from twinlens.compute.passes.subject import Ending, Subject
from twinlens.contract.forms import UnitEffect
from twinlens.contract.words import SIDES, Side, parse_unit, reading_position
from twinlens.errors import NotFiniteError
from twinlens.support.progress import Report, told

#: Points on the way of the block, those of Gauss and Legendre.
STEPS = 8
#: Neurons that are measured, of largest estimate in either model; and components that are told of
#: all that are measured.
NEURONS, COMPONENTS = 12, 12
#: Units taken off in one pass at most, and tokens that its layers read together: on a processor so
#: few that whoever waits for the model hardly notices.
_AT_ONCE, _TOKENS_AT_ONCE, _TOKENS_ELSEWHERE = 64, 2**10, 2**14
#: Answer tokens predicted in one pass that gradients go back through.
_PREDICTED_AT_ONCE = 32


@dataclass(frozen=True)
class LayerUnits:
    """The feed-forward block of a layer where a token is read.

    Attributes
    ----------
    columns : list of int
        Answer tokens whose log-probabilities are summed; the last of them ends what is read.
    start : Ending
        Where passes begin, at the position if possible.
    held : callable
        What to enter for every piece of work on the model.
    """

    reading: Reading
    captured: Capture
    layer: int
    position: int
    columns: list[int]
    start: Ending
    held: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def written(self) -> Tensor:
        """What the block gives there, before a norm behind it, float32 [hidden]."""
        return self.captured.feed_forward_out[self.layer, self.position]

    @property
    def neurons(self) -> Tensor:
        """Activations there, float32 [intermediate]."""
        return self.captured.neurons[self.layer][self.position]

    @property
    def norm(self) -> nn.Module | None:
        """A norm behind the block, in families that have one."""
        norms = architectures.norms_behind(self.reading.model, self.layer)
        return norms[1] if norms else None

    def states(self, outputs: Tensor, behind: nn.Module | None = None) -> Tensor:
        """Final hidden states where the target is predicted, with other outputs of the block.

        Parameters
        ----------
        outputs : tensor [B, hidden]
        behind : module, optional
            What they are the outputs of, if not of the block: a module behind it.

        Returns
        -------
        tensor [B, columns, hidden]
        """
        model, first = self.reading.model, self.start.first
        end = self.reading.prompt_length + self.columns[-1]
        ids = self.reading.read[:, first:end].expand(len(outputs), -1)
        residual = self.captured.residual[self.layer, first:end]

        def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            # Some families put all texts end to end.
            texts = output.reshape(len(outputs), -1, output.shape[-1]).clone()
            texts[:, self.position - first] = outputs.to(texts)
            return texts.reshape(output.shape)

        out = behind or architectures.feed_forward_out(model, self.layer)
        with (
            self.reading.at_its_length(),
            self.start.reading_on(model),
            onward(model, self.layer, residual, self.captured.returned),
            out.register_forward_hook(hook),
        ):
            output = architectures.body(model)(ids, use_cache=False, **self.start.placed(ids))
        places = self.reading.positions[self.columns] - first
        return cast(Tensor, output.last_hidden_state[:, places])

    def logprob(self, outputs: Tensor, behind: nn.Module | None = None) -> Tensor:
        """Log-probability of the target, [B], in nats; gradients go through. See `states`."""
        scores = architectures.scores(self.reading.model, self.states(outputs, behind))
        rows = [log_probability(precise(row), self.reading, self.columns) for row in scores]
        return torch.stack(rows).sum(dim=-1)

    def logprob_read(self, outputs: Tensor) -> Tensor:
        """The same without gradients and without all logits in memory."""
        targets = self.reading.targets[self.columns].repeat(len(outputs))
        states = self.states(outputs).flatten(0, 1)
        return logprobs(self.reading.model, states, targets).view(len(outputs), -1).sum(dim=-1)

    @property
    def at_once(self) -> int:
        """Units taken off in one pass."""
        model = self.reading.model
        layers = architectures.sizes(model.config).layers - self.layer
        tokens = layers * (self.reading.prompt_length + self.columns[-1] - self.start.first)
        most = _TOKENS_AT_ONCE if model.device.type == "cpu" else _TOKENS_ELSEWHERE
        return min(_AT_ONCE, max(1, most // tokens))


@torch.inference_mode(False)
def integrated_gradient(block: LayerUnits, report: Report | None = None) -> Tensor:
    """Gradient of the target by the block's output, mean over the way from all of it to nothing.

    The model is held for a few points of the way at a time, so that others may run it in between.

    Returns
    -------
    float tensor [hidden]
        Times the output it is, nearly, what the target loses without the block.

    Raises
    ------
    NotDifferentiableError
        If gradients do not pass through weights as they are stored.
    """
    check_differentiable(block.reading.model)
    norm, given = block.norm, block.written.to(block.reading.model.device).requires_grad_()
    # A norm gives the same however much it is given: the way goes from what it gives.
    with block.held(), torch.enable_grad():
        added = given if norm is None else norm(given[None, None])[0, 0]
    way = torch.tensor(points_on_the_way(STEPS), dtype=torch.float64).to(added)
    points, weights = way[:, :1] * added.detach(), way[:, 1]
    total = torch.zeros_like(added)
    # Together where their graph fits.
    length = len(block.reading.ids) - 1 - block.start.first
    size = min(STEPS, max(1, _PREDICTED_AT_ONCE // len(block.columns)))
    size = size if fits(block.reading.model, size, length) else 1
    for first in told(range(0, STEPS, size), "estimating units", report):
        outputs = points[first : first + size].clone().requires_grad_()
        with block.held():
            with torch.enable_grad():
                target = block.logprob(outputs, norm) @ weights[first : first + size]
            (slopes,) = torch.autograd.grad(target, outputs)
        total += slopes.sum(dim=0)
    (slope,) = torch.autograd.grad(added, given, total)
    return slope.float().cpu()


def without(block: LayerUnits, parts: Tensor, report: Report | None = None) -> Tensor:
    """What the target loses without each of some parts [B, hidden] of the block's output, nats.

    The model is held for a piece of them at a time, so that others may run it in between.

    Raises
    ------
    NotFiniteError
        If a log-probability is NaN or infinite.
    """
    lost_parts = []
    with block.held(), torch.no_grad():
        whole = block.logprob_read(block.written[None])
    size = block.at_once
    for first in told(range(0, len(parts), size), "measuring units", report):
        with block.held(), torch.no_grad():
            some = parts[first : first + size].to(block.written)
            left = block.logprob_read(block.written - some)
            lost_parts.append((whole - left).cpu())
    lost = torch.cat(lost_parts)
    if not bool(torch.isfinite(lost).all()):
        raise NotFiniteError(
            "the effect of a unit is NaN or infinite although the forward pass is finite: load the "
            "pair with dtype=torch.float32"
        )
    return lost


class Mattered:
    """Units of a layer by what a token loses without them where it is read.

    Of an answer token it is its own log-probability; of a prompt token that of the whole answer.
    """

    def __init__(self, subject: Subject, concepts: Concepts) -> None:
        self._subject, self._models, self._manifest = subject, subject.models, subject.manifest
        self._concepts = concepts
        self._estimates: dict[tuple[int, int], list[UnitEffect]] = {}

    def estimate(self, layer: int, token: int, report: Report | None = None) -> list[UnitEffect]:
        """All components and the neurons of largest estimate, the largest effect first.

        Raises
        ------
        UnsupportedArchitectureError
            If the feed-forward layers are mixtures of experts.
        """
        if (layer, token) not in self._estimates:
            of_neurons, of_components = {}, {}
            for side in self._sides(token):
                with self._block(side, layer, token) as block:
                    slope = integrated_gradient(block, report)
                    with block.held():
                        vectors = value_vectors(block.reading.model, layer)
                        along = (vectors @ slope.to(vectors)).float().cpu()
                        parts = self._parts(side, block, self._components)
                    of_neurons[side] = block.neurons * along
                    of_components[side] = parts @ slope
            self._estimates[layer, token] = self._chosen(of_components, of_neurons)
        return self._estimates[layer, token]

    def measured(self, layer: int, token: int, report: Report | None = None) -> list[UnitEffect]:
        """The same units, measured, of the components those of largest effect; largest first."""
        units = [row["unit"] for row in self.estimate(layer, token, report)]
        effects: dict[Side, Tensor] = {}
        for side in self._sides(token):
            with self._block(side, layer, token) as block:
                with block.held():
                    parts = self._parts(side, block, units)
                effects[side] = without(block, parts, report)
        rows = _sorted(units, effects)
        components = [row for row in rows if row["unit"].startswith("component")]
        return [row for row in rows if row not in components[COMPONENTS:]]

    @property
    def _components(self) -> list[str]:
        return [f"component:{k}" for k in range(self._concepts.count)]

    def _chosen(
        self, of_components: dict[Side, Tensor], of_neurons: dict[Side, Tensor]
    ) -> list[UnitEffect]:
        if not of_neurons:
            return []
        size = torch.stack([effects.abs() for effects in of_neurons.values()]).amax(dim=0)
        neurons = size.topk(min(NEURONS, len(size))).indices
        units = [*self._components, *(f"neuron:{neuron}" for neuron in neurons.tolist())]
        effects = {
            side: torch.cat([of_components[side], of_neurons[side][neurons]]) for side in of_neurons
        }
        return _sorted(units, effects)

    def _parts(self, side: Side, block: LayerUnits, units: Sequence[str]) -> Tensor:
        """What units add to the block's output, float32 [units, hidden]."""
        directions = torch.from_numpy(self._concepts.directions(side, block.layer)).float()
        vectors = value_vectors(block.reading.model, block.layer)
        parts = []
        for unit in units:
            kind, number = parse_unit(unit)
            if kind == "neuron":
                parts.append(block.neurons[number] * vectors[number].float().cpu())
            else:
                parts.append((block.written @ directions[number]) * directions[number])
        return torch.stack(parts)

    def _sides(self, token: int) -> list[Side]:
        m = self._manifest
        return [s for s in SIDES if m.answer_length(s) and token < m.length(s)]

    @contextmanager
    def _block(self, side: Side, layer: int, token: int) -> Iterator[LayerUnits]:
        n = self._manifest.prompt_length
        position = reading_position(token, n)
        columns = [token - n] if token >= n else list(range(self._manifest.answer_length(side)))
        held = partial(self._models.held, side)
        with self._models.pieces(side) as model:
            with held():
                architectures.check_neurons(model.config)
                reading = self._subject.reading(side, model)
                start = self._subject.ending(side, reading, position)
            captured = self._subject.captures[side]
            yield LayerUnits(reading, captured, layer, position, columns, start, held)


def _sorted(units: Sequence[str], effects: dict[Side, Tensor]) -> list[UnitEffect]:
    """The largest effect in either model first; numbers as they are read, to four digits."""
    if not effects:
        return []
    size = torch.stack([of_side.abs() for of_side in effects.values()]).amax(dim=0)

    def number(side: Side, place: int) -> float | None:
        return float(f"{float(effects[side][place]):.4g}") if side in effects else None

    return [
        UnitEffect(unit=units[place], base=number("base", place), tuned=number("tuned", place))
        for place in size.argsort(descending=True, stable=True).tolist()
    ]
