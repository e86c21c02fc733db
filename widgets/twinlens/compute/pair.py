"""Loading two models side by side, and making sure that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

import psutil
import torch
from transformers import AutoModelForCausalLM

from twinlens.compute.models.architectures import Sizes, sizes
from twinlens.compute.models.sources import (
    Source,
    load_config,
    load_tokenizer,
    load_weights,
    revision_of,
    source_of,
)
from twinlens.contract.manifest import ModelInfo, PairInfo
from twinlens.contract.words import SIDES, Side
from twinlens.errors import MemoryNeededError, ModelLoadError, PairMismatchError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    from twinlens.compute.concepts.components import ConceptSettings
    from twinlens.compute.concepts.units import Concepts
    from twinlens.compute.heads.search import PairHeads, WordSource
    from twinlens.support.progress import Report
    from twinlens.weights.head_words import HeadWords

DEMO_NOTE = (
    "A teaching pair of tiny models, trained for this package on made-up text: "
    "not evidence about large models."
)
_PROBES = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:",
    "  def f(x):\n\treturn x ** 2 + 10000  # TODO",
    "naïve café, 東京, Привет, שלום, 👩‍💻 — 3,141.59",
)
#: Attributes that a pickled pair leaves behind.
_OF_THIS_PROCESS = {"lock", "_resident", "_loaded", "info", "concepts"}
# Activations, the captured arrays and the allocator come on top of the weights.
_HEADROOM = 1.15


class Pair:
    """Two causal language models of one architecture, with their tokenizers.

    Made by `load_pair`. Both models are in evaluation mode and their weights never ask for a
    gradient. A pickled pair holds no weights: where it arrives they are loaded from where they
    came from.

    Attributes
    ----------
    tokenizers : dict of Side to tokenizer
    configs : dict of Side to configuration
    sizes : Sizes
        The shape both share.
    memory : "both" or "sequential"
    lock : RLock
        Held while a model runs; a model is not reentrant.
    card : str
        Description of the embedded pair, else "".
    names : dict of Side to str
        What the models are called wherever they appear: hub id, folder or file name.
    note : str
        One sentence shown wherever the pair appears. Set names and note before `info` is read.
    """

    def __init__(
        self,
        sources: dict[Side, Source],
        configs: dict[Side, PretrainedConfig],
        tokenizers: dict[Side, PreTrainedTokenizerFast],
        options: dict[str, Any],
        *,
        memory: Literal["both", "sequential"] = "both",
        concepts: ConceptSettings | None = None,
    ) -> None:
        self.configs = configs
        self.tokenizers = tokenizers
        self.memory = memory
        self.sizes = sizes(configs["base"])
        self.lock = RLock()
        self.card = ""
        self.note = ""
        self.names = {side: source.name for side, source in sources.items()}
        self._sources = sources
        self._options = options
        self._concept_settings = concepts
        self._resident: dict[Side, PreTrainedModel] = {}
        self._loaded: dict[Side, tuple[str, int]] = {}

    def __repr__(self) -> str:
        names = " and ".join(repr(self.names[side]) for side in SIDES)
        return f"<Pair {names}: {self.sizes.layers} layers of {self.sizes.heads} heads>"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the weights.

        Raises
        ------
        ModelLoadError
            If a folder that the weights came from is gone.
        """
        for source in self._sources.values():
            if Path(source.place).is_absolute() and not Path(source.place).is_dir():
                raise ModelLoadError(
                    f"another process cannot load {source.name!r} because the folder it came from "
                    "is gone: save the model where it can stay and load the pair from there"
                )
        state = {name: value for name, value in vars(self).items() if name not in _OF_THIS_PROCESS}
        # The number of a device is one of this machine.
        state["_options"] = {
            **self._options,
            "device": torch.device(self._options["device"].type),
        }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=RLock(), _resident={}, _loaded={})

    @property
    def accelerated(self) -> bool:
        """Whether it runs on an accelerator."""
        return self._options["device_map"] is not None or self._options["device"].type != "cpu"

    @contextmanager
    def model(self, side: Side) -> Iterator[PreTrainedModel]:
        """The model of one side, locked for this thread.

        With ``memory="sequential"`` it is loaded if needed, after the other one was let go; keep
        no reference to it.

        Raises
        ------
        ModelLoadError
            If its weights cannot be read.
        """
        with self.lock:
            if side not in self._resident:
                if self.memory == "sequential":
                    self._resident.clear()
                model = load_weights(self._sources[side], self.configs[side], self._options)
                count = sum(parameter.numel() for parameter in model.parameters())
                self._loaded[side] = str(model.dtype).removeprefix("torch."), count
                self._resident[side] = model
            yield self._resident[side]

    def release(self) -> None:
        """Let go of the weights; a model is loaded again when it is next needed."""
        with self.lock:
            self._resident.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def vocabulary(self) -> int:
        """Ids that both models and both tokenizers know: ``0 .. vocabulary - 1``."""
        return min(
            *(sizes(config).vocabulary for config in self.configs.values()),
            *(len(tokenizer) for tokenizer in self.tokenizers.values()),
        )

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

    @cached_property
    def concepts(self) -> Concepts:
        """What the weights alone say about feed-forward layers, kept for every prompt."""
        from twinlens.compute.concepts.units import Concepts

        return Concepts(self, self._concept_settings)

    @cached_property
    def head_weights(self) -> PairHeads:
        """What the weights alone say about attention heads, kept for every prompt."""
        from twinlens.compute.heads.search import PairHeads

        return PairHeads(self)

    def word_pairs(
        self,
        words: WordSource | None = None,
        *,
        layers: Iterable[int] | None = None,
        report: Report | None = None,
        **settings: Any,
    ) -> HeadWords:
        """Word pairs of the heads of both models (paper, section on self-attention heads).

        Panels opened from now on show them, found with these settings.

        Parameters
        ----------
        words, **settings
            Vocabulary, and ``cooccurrence``, ``top`` (K), ``z``, ``frequent``, ``cache`` and
            ``device`` of `PairSearch`.
        layers : iterable of int, optional
            Layers to look at; all by default.
        report : callable, optional
            Told the layers done; may raise `Interrupted`.

        Raises
        ------
        VocabularyError
            If fewer words than K have a vector, or the vectors cannot be read.
        HeadIndexError
            If there is no such layer.
        """
        from twinlens.compute.heads.search import PairSearch, pair_weights

        weights = partial(pair_weights, self)
        search = PairSearch(weights, self.tokenizers["base"], words, **settings)
        found = search.find(layers, report)
        self.head_weights.search = search
        return found

    def _model_info(self, side: Side) -> ModelInfo:
        if side not in self._loaded:
            with self.model(side):
                pass
        dtype, count = self._loaded[side]
        source = self._sources[side]
        return ModelInfo(self.names[side], revision_of(source, self.configs[side]), dtype, count)


def load_pair(
    base: str | Path,
    tuned: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    memory: Literal["both", "sequential"] = "both",
    trust_remote_code: bool = False,
    base_revision: str | None = None,
    tuned_revision: str | None = None,
    tokenizer: str | Path | None = None,
    concepts: ConceptSettings | None = None,
) -> Pair:
    """Load a pre-trained model and its tuned twin.

    Parameters
    ----------
    base, tuned : str or path
        A hub id, a folder as `save_pretrained` writes it, or a ``.gguf`` file (in a local folder
        or a hub repository). Weights are read from safetensors or GGUF, never from pickle.
    device : str or device, optional
        Where to run; the CPU by default.
    dtype : torch.dtype, optional
        float32 on the CPU, elsewhere as the weights are stored.
    device_map : optional
        Spreads each model over devices, as in transformers; replaces `device`.
    memory : "both" or "sequential"
        Whether both models stay loaded, or never more than one at a time.
    trust_remote_code : bool
        Run code that comes with a model; only for models you trust.
    base_revision, tuned_revision : str, optional
        Branch, tag or commit on the hub.
    tokenizer : str or path, optional
        Tokenizer for both models, instead of their own.
    concepts : ConceptSettings, optional
        How many components and words describe a feed-forward layer, and which words.

    Raises
    ------
    HeadIndexError
        If more components are asked for than the rank of the feed-forward weights.
    ModelLoadError
        If one of them cannot be read.
    UnsupportedArchitectureError
        If twinlens has no description of their architecture.
    PairMismatchError
        If they differ in architecture, size or tokenizer; found before weights are loaded.
    MemoryNeededError
        If they do not fit; says which setting would.
    """
    if memory not in ("both", "sequential"):
        raise ValueError(f'memory is "both" or "sequential", not {memory!r}')
    sources: dict[Side, Source] = {
        "base": source_of(base, base_revision),
        "tuned": source_of(tuned, tuned_revision),
    }
    on_cpu = device_map is None and torch.device(device or "cpu").type == "cpu"
    options = {
        "device": torch.device(device or "cpu"),
        "device_map": device_map,
        "dtype": dtype or (torch.float32 if on_cpu else "auto"),
        "trust_remote_code": trust_remote_code,
    }
    configs = {side: load_config(sources[side], trust_remote_code) for side in SIDES}
    _check_shapes(configs)
    tokenizers = {
        side: load_tokenizer(
            sources[side] if tokenizer is None else source_of(tokenizer, None), trust_remote_code
        )
        for side in SIDES
    }
    _check_tokenizers(tokenizers)
    if device_map is None:
        _check_memory(configs, options, memory)
    if concepts is not None:
        concepts.count(sizes(configs["base"]))
    pair = Pair(sources, configs, tokenizers, options, memory=memory, concepts=concepts)
    if memory == "both":
        for side in SIDES:
            with pair.model(side):
                pass
    return pair


def demo_pair(concepts: ConceptSettings | None = None) -> Pair:
    """The embedded pair: two tiny models that come with the package; needs no network."""
    folder = Path(str(files("twinlens") / "demo"))
    pair = load_pair(folder / "base", folder / "tuned", concepts=concepts)
    card = folder / "README.md"
    pair.card = card.read_text(encoding="utf-8") if card.is_file() else ""
    pair.names = {"base": "mini-world", "tuned": "mini-world-instruct"}
    pair.note = DEMO_NOTE
    return pair


def _check_shapes(configs: dict[Side, PretrainedConfig]) -> None:
    base, tuned = configs["base"], configs["tuned"]
    if base.model_type != tuned.model_type:
        raise PairMismatchError(
            "the models cannot be compared because their architectures differ: base is "
            f"{base.model_type}, tuned is {tuned.model_type}"
        )
    words = {
        "layers": "number of layers",
        "heads": "number of attention heads",
        "kv_heads": "number of key and value heads",
        "hidden": "hidden size",
        "intermediate": "feed-forward size",
    }
    shapes: tuple[Sizes, Sizes] = (sizes(base), sizes(tuned))
    for field, word in words.items():
        first, second = (getattr(shape, field) for shape in shapes)
        if first != second:
            raise PairMismatchError(
                f"the models cannot be compared because the {word} differs: base has {first}, "
                f"tuned has {second}"
            )


def _check_tokenizers(tokenizers: dict[Side, PreTrainedTokenizerFast]) -> None:
    base, tuned = (tokenizers[side].get_vocab() for side in SIDES)
    clashes = [(i, piece) for piece, i in base.items() if tuned.get(piece, i) != i]
    if clashes:
        identifier, piece = min(clashes)
        raise PairMismatchError(
            f"the models cannot be compared because their tokenizers disagree: {piece!r} is "
            f"token {identifier} in base and {tuned[piece]} in tuned"
        )
    for text in _PROBES:
        first, second = (tokenizers[s].encode(text, add_special_tokens=False) for s in SIDES)
        if first != second:
            raise PairMismatchError(
                "the models cannot be compared because their tokenizers disagree: "
                f"{text[:30]!r} becomes {len(first)} tokens in base and {len(second)} in tuned, "
                "or other ones"
            )


def _check_memory(
    configs: dict[Side, PretrainedConfig], options: dict[str, Any], memory: str
) -> None:
    counts = [_parameters(configs[side], options["trust_remote_code"]) for side in SIDES]
    dtype = options["dtype"]
    if dtype == "auto":
        stored = getattr(configs["base"], "dtype", None)
        dtype = stored if isinstance(stored, torch.dtype) else torch.float32

    def needed(kept: str, width: int) -> float:
        number = sum(counts) if kept == "both" else max(counts)
        return number * width * _HEADROOM / 1e9

    free = _free_memory(options["device"]) / 1e9
    if needed(memory, dtype.itemsize) <= free:
        return
    ways = [f'memory="sequential" needs {needed("sequential", dtype.itemsize):.1f} GB']
    if memory == "sequential":
        ways = []
    if dtype.itemsize > 2:
        ways.append(f"dtype=torch.bfloat16 needs {needed(memory, 2):.1f} GB")
    ways.append('device_map="auto" spreads the models over devices and disk')
    raise MemoryNeededError(
        f"loading {'both models' if memory == 'both' else 'one model at a time'} in "
        f"{str(dtype).removeprefix('torch.')} needs {needed(memory, dtype.itemsize):.1f} GB, but "
        f"only {free:.1f} GB are free: {', '.join(ways)}"
    )


def _parameters(config: PretrainedConfig, trust_remote_code: bool) -> int:
    """Number of parameters, by building the model without its weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, trust_remote_code=trust_remote_code
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
