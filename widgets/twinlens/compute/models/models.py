"""The two models of a pair: loaded when they are needed, locked while they run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from twinlens.compute.models.adapters import attach, switches
from twinlens.compute.models.architectures import sizes
from twinlens.compute.models.hub import check_hub, looked_up
from twinlens.compute.models.loading import count_parameters, load_weights, revision_of
from twinlens.compute.models.running import made_ready, plainly
from twinlens.compute.models.sources import ModelSource
from twinlens.compute.models.weights import Weights
from twinlens.contract.manifest import ModelInfo, PairInfo
from twinlens.contract.words import SIDES, Side
from twinlens.errors import ArgumentError, ModelLoadError
from twinlens.support.cached import cached_property
from twinlens.support.turns import Turns

#: Held by all pairs with a model in memory: another pair may have the same one.
_MEMORY_LOCK = Turns()


@lru_cache(maxsize=8)
def _id_bound(tokenizer: PreTrainedTokenizerFast, _length: int) -> int:
    """One more than the largest id of a tokenizer, which may have gaps; kept until it grows."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


class Models:
    """Two causal language models of one architecture, with their tokenizers.

    Both models are in evaluation mode and their weights never ask for a
    gradient. Pickled they hold no weights: where it arrives they are loaded from where they
    came from.

    Attributes
    ----------
    tokenizers : dict of Side to tokenizer
    configs : dict of Side to configuration
    sizes : Sizes
        The shape both share.
    memory : "both" or "sequential"
    lock : Turns
        Held while a model runs; a model is not reentrant.
    names : dict of Side to str
        What the models are called wherever they appear: hub id, folder or file name.
    note : str
        One sentence shown wherever the pair appears. Set names and note before `info` is read.
    """

    #: Attributes that are left behind when they are pickled.
    of_this_process = frozenset({"lock", "_resident", "_loaded"})

    def __init__(
        self,
        sources: dict[Side, ModelSource],
        configs: dict[Side, PretrainedConfig],
        tokenizers: dict[Side, PreTrainedTokenizerFast],
        options: dict[str, Any],
        *,
        memory: Literal["both", "sequential"] = "both",
    ) -> None:
        self.configs = configs
        self.tokenizers = tokenizers
        self.memory = memory
        self.sizes = sizes(configs["base"])
        self._rows = {side: sizes(config).vocabulary for side, config in configs.items()}
        self.lock = _lock(sources)
        self.note = ""
        self.names = {side: source.name for side, source in sources.items()}
        self._sources = sources
        self._options = options
        self._resident: dict[Side, PreTrainedModel] = {}
        self._loaded: dict[Side, tuple[str, int]] = {}

    def __repr__(self) -> str:
        names = " and ".join(repr(self.names[side]) for side in SIDES)
        shape = f"{self.sizes.layers} layers of {self.sizes.heads} heads"
        return f"<{type(self).__name__} {names}: {shape}>"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the weights.

        Raises
        ------
        ModelLoadError
            If a folder that the weights came from is gone, or a model is in memory only.
        """
        for source in self._sources.values():
            if source.model is not None:
                raise ModelLoadError(
                    f"another process cannot load {source.name!r} because it lies in the memory of "
                    "this one: save it (save_pretrained) and load the pair from there"
                )
            for place in (source.place, source.adapter.place if source.adapter else source.place):
                if Path(place).is_absolute() and not Path(place).is_dir():
                    raise ModelLoadError(
                        f"another process cannot load {source.name!r} because the folder it came "
                        "from is gone: save the model where it can stay and load the pair from "
                        "there"
                    )
        # What is worked out when it is asked for is worked out there again.
        worked_out = {
            name
            for kind in type(self).__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }
        left = self.of_this_process | worked_out
        state = {name: value for name, value in vars(self).items() if name not in left}
        # The number of a device is one of this machine.
        state["_options"] = {
            **self._options,
            "device": torch.device(self._options["device"].type),
        }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        lock = _lock(state["_sources"])
        self.__dict__.update(state, lock=lock, _resident={}, _loaded={})

    @property
    def accelerated(self) -> bool:
        """Whether it runs on an accelerator."""
        return self._options["device_map"] is not None or self._options["device"].type != "cpu"

    @contextmanager
    def model(self, side: Side) -> Iterator[PreTrainedModel]:
        """The model of one side, locked for this thread.

        With ``memory="sequential"`` it is loaded if needed, after the other one was let go; keep
        no reference to it. A model of the user's own, or one whose adapter is switched, is put
        back as it was.

        Raises
        ------
        ArgumentError
            If there is no such side.
        ModelLoadError
            If its weights cannot be read.
        """
        if side not in SIDES:
            raise ArgumentError(f'a model of a pair is "base" or "tuned", not {side!r}')
        with self.lock:
            if side not in self._resident:
                self._load(side)
            model = self._resident[side]
            ready = made_ready(model, self._adapters(side)) if self._lent(side) else nullcontext()
            with plainly(), ready:
                yield model

    def held(self, side: Side) -> AbstractContextManager[object]:
        """What to enter for every piece of long work on a model, as often as wanted."""
        return _Held(self, side)

    @contextmanager
    def pieces(self, side: Side) -> Iterator[PreTrainedModel]:
        """The model of one side, for work in pieces that each enter `held`; others run between.

        With ``memory="sequential"`` it stays locked throughout, or it would be let go.
        """
        with ExitStack() as stack:
            model = stack.enter_context(self.model(side))
            if self.memory == "both":
                stack.close()
            yield model

    @contextmanager
    def weights(self, side: Side) -> Iterator[Weights]:
        """Weights of one side, to be read layer by layer; locked as in `pieces`."""
        name = getattr(self.info, side).name
        with self.pieces(side) as model:
            yield Weights(model, name, held=self.held(side) if self._lent(side) else None)

    @looked_up()
    def _load(self, side: Side) -> None:
        source, other = self._sources[side], _other(side)
        for of in (source, source.adapter):
            if of is not None and of.place and not Path(of.place).is_dir():
                check_hub(of.place, getattr(of, "gguf", None), of.revision)
        shared = source.shares_weights(self._sources[other])
        if shared and other in self._resident:
            model = self._resident[other]
        else:
            if self.memory == "sequential":
                self._resident.clear()
            model = source.model or load_weights(source, self.configs[side], self._options)
        adapter = source.adapter
        if adapter is not None and adapter.place and next(switches(model), None) is None:
            attach(model, adapter)
        self._resident[side] = model
        with made_ready(model, self._adapters(side)) if self._lent(side) else nullcontext():
            dtype = str(model.dtype).removeprefix("torch.")
            self._loaded[side] = dtype, count_parameters(model, source)

    def _lent(self, side: Side) -> bool:
        """Whether a model is not as it is run all the time."""
        return self._sources[side].model is not None or self._adapters(side) is not None

    def _adapters(self, side: Side) -> bool | None:
        """Whether adapters are on; None where they need not be switched."""
        source, other = self._sources[side], self._sources[_other(side)]
        if source.model is not None and source.adapter is not None:
            return True
        if source.adapter != other.adapter and source.shares_weights(other):
            return source.adapter is not None
        return None

    def release(self) -> None:
        """Let go of the weights; a model is loaded again when it is next needed."""
        with self.lock:
            self._resident.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def vocabulary(self) -> int:
        """Ids that both models and both tokenizers know: ``0 .. vocabulary - 1``."""
        return min(self.known_ids(side) for side in SIDES)

    def known_ids(self, side: Side) -> int:
        """Ids that one model and its tokenizer know: ``0 .. known_ids - 1``."""
        tokenizer = self.tokenizers[side]
        return min(self.rows(side), _id_bound(tokenizer, len(tokenizer)))

    def rows(self, side: Side) -> int:
        """Ids that one model has an embedding for, padding included."""
        return self._rows[side]

    def readable(self, side: Side, ids: Sequence[int]) -> list[int]:
        """Ids as one model reads them: its `stand_in` for what it has no embedding for."""
        rows = self.rows(side)
        return [token if token < rows else self.stand_in(side) for token in ids]

    def stand_in(self, side: Side) -> int:
        """What a model reads in place of tokens that only the other one knows.

        Its token for unknown text, or else that for the end or the start of a text.
        """
        tokenizer, config = self.tokenizers[side], self.configs[side].get_text_config()
        tokens = (
            tokenizer.unk_token_id,
            tokenizer.eos_token_id,
            getattr(config, "eos_token_id", None),
            tokenizer.bos_token_id,
            getattr(config, "bos_token_id", None),
        )
        rows = self.rows(side)
        return next((t for t in tokens if isinstance(t, int) and 0 <= t < rows), 0)

    @property
    def positions(self) -> int | None:
        """Longest context of both, None where it is not limited."""
        limits = [sizes(config).positions for config in self.configs.values()]
        return min((limit for limit in limits if limit is not None), default=None)

    @cached_property
    def info(self) -> PairInfo:
        """Names, revisions and shared shape."""
        return PairInfo(
            base=self._model_info("base"),
            tuned=self._model_info("tuned"),
            architecture=self.configs["base"].model_type,
            layers=self.sizes.layers,
            heads=self.sizes.heads,
            kv_heads=self.sizes.kv_heads,
            hidden=self.sizes.hidden,
            intermediate=self.sizes.intermediate,
            vocabulary=self.vocabulary,
            note=self.note,
        )

    def _model_info(self, side: Side) -> ModelInfo:
        if side not in self._loaded:
            with self.model(side):
                pass
        dtype, count = self._loaded[side]
        source = self._sources[side]
        return ModelInfo(self.names[side], revision_of(source), dtype, count)


class _Held:
    """A model of a pair, held while it is entered; who wants all of it at once comes first."""

    def __init__(self, models: Models, side: Side) -> None:
        self._models, self._side = models, side
        self._entered: list[AbstractContextManager[object]] = []

    def __enter__(self) -> None:
        with ExitStack() as entered:
            entered.enter_context(self._models.lock.piece())
            entered.enter_context(self._models.model(self._side))
            self._entered.append(entered.pop_all())

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)


def _other(side: Side) -> Side:
    return SIDES[1 - SIDES.index(side)]


def _lock(sources: dict[Side, ModelSource]) -> Turns:
    lent = any(source.model is not None for source in sources.values())
    return _MEMORY_LOCK if lent else Turns()
