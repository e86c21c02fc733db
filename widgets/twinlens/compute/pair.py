"""A pre-trained model and its tuned twin, and what is known of their weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from twinlens.compute.models.architectures import architecture_of, sizes
from twinlens.compute.models.checks import check_memory, check_shapes, check_tokenizers
from twinlens.compute.models.families import register_architecture
from twinlens.compute.models.hub import looked_up
from twinlens.compute.models.loading import parsed_once
from twinlens.compute.models.models import Models
from twinlens.compute.models.placement import (
    check_attention,
    check_in_memory,
    check_places,
    read_device,
    read_dtype,
)
from twinlens.compute.models.running import methods_plainly, plainly
from twinlens.compute.models.sources import (
    ModelSource,
    check_offsets,
    load_config,
    load_tokenizer,
    source_of,
    sources_of_adapter,
    tokenizer_source,
)
from twinlens.compute.passes.reading_check import check_reading
from twinlens.contract.words import SIDES, Side
from twinlens.errors import ArgumentError, ModelLoadError
from twinlens.support.cached import cached_property
from twinlens.support.calls import called_rightly, methods_called_rightly

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from twinlens.compute.concepts.components import ConceptSettings
    from twinlens.compute.concepts.units import Concepts
    from twinlens.compute.heads.search import PairHeads, WordSource
    from twinlens.compute.update.update import Update
    from twinlens.support.progress import Report
    from twinlens.weights.head_words import HeadWords

DEMO_NOTE = (
    "A teaching pair of tiny models, trained for this package on made-up text: "
    "not evidence about large models."
)


@methods_plainly
@methods_called_rightly
class Pair(Models):
    """A pre-trained model and its tuned twin, made by `load_pair`.

    Attributes
    ----------
    card : str
        Description of the embedded pair, else "".

    Examples
    --------
    >>> import twinlens as tl
    >>> pair = tl.demo_pair()
    >>> pair.info.layers, pair.info.heads, pair.info.tuned.name
    (4, 8, 'mini-world-instruct')
    """

    _update: Update | None = None
    of_this_process = Models.of_this_process | {"_update"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Where it arrives the family may not have been registered.
        register_architecture(self.configs["base"].model_type, self._architecture)

    def __init__(self, *args: Any, concepts: ConceptSettings | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.card = ""
        self._architecture = architecture_of(self.configs["base"])
        self._checked: set[Side] = set()
        self._concept_settings = concepts

    @contextmanager
    def model(self, side: Side) -> Iterator[PreTrainedModel]:
        """As `Models.model`; when it is first loaded it is checked that twinlens reads it rightly.

        Parameters
        ----------
        side : {"base", "tuned"}

        Raises
        ------
        UnsupportedArchitectureError
            If it does not; names what does not hold.
        """
        with super().model(side) as model:
            if side not in self._checked:
                check_reading(model, self.names[side], side)
                self._checked.add(side)
            yield model

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
        ArgumentError
            If a setting is unknown or of the wrong kind.
        """
        from twinlens.compute.heads.search import PairSearch, check_settings

        check_settings(settings)
        search = PairSearch(self.weights, self.tokenizers["base"], words, **settings)
        pairs = search.find(layers, report)
        self.head_weights.search = search
        return pairs

    def taken_apart(self, report: Report | None = None) -> Update:
        """`update`, kept for every prompt.

        Parameters
        ----------
        report : callable, optional
            Told the tensors done; may raise `Interrupted`.
        """
        if self._update is None:
            self._update = self.update(report)
        return self._update

    def update(self, report: Report | None = None) -> Update:
        """What tuning changed in the weights, as singular directions of every matrix.

        Of a LoRA adapter they come from its factors, of two models from their difference, one
        matrix at a time; the directions are held, twice the size of the matrices of full rank.

        Parameters
        ----------
        report : callable, optional
            Told the tensors done; may raise `Interrupted`.

        Returns
        -------
        Update
            Its ``on(prompt)`` says what each direction does.

        Raises
        ------
        MemoryNeededError
            If the models are not loaded together.
        UnsupportedArchitectureError
            If weights cannot be read, or differ in a mixture of experts.

        Examples
        --------
        >>> import twinlens as tl
        >>> update = tl.demo_pair().update()
        >>> update
        <Update from 'mini-world' to 'mini-world-instruct' (weights): 6,144 directions in 28 \
matrices, 10 other tensors>
        """
        from twinlens.compute.update.update import update_of

        return update_of(self, report)


@plainly()
@looked_up()
@called_rightly
def load_pair(
    base: str | os.PathLike[str] | PreTrainedModel,
    tuned: str | os.PathLike[str] | PreTrainedModel | PeftModel | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization_config: Any = None,
    attn_implementation: str | None = None,
    memory: Literal["both", "sequential"] = "both",
    trust_remote_code: bool = False,
    base_revision: str | None = None,
    tuned_revision: str | None = None,
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerFast | None = None,
    concepts: ConceptSettings | None = None,
) -> Pair:
    """Load a pre-trained model and its tuned twin.

    Parameters
    ----------
    base, tuned : str, path or model
        A hub id, a folder as `save_pretrained` writes it, a ``.gguf`` file (in a local folder
        or a hub repository), a PEFT adapter (a hub id or folder), or a model in memory. Weights
        are read from safetensors or GGUF, never from pickle. An adapter changes `base`, which is
        held once for both and has the adapter off; as `base` it changes the model that its
        configuration names, and alone, without `tuned`, it is compared with that model. A model in
        memory, a `PeftModel` too, is put back as it was whenever it is not running, and its weights
        must not change while the pair is in use.
    device : str or device, optional
        Where to run; the CPU by default.
    dtype : torch.dtype or str, optional
        float32 on the CPU, elsewhere as the weights are stored, which is "auto".
    device_map : optional
        Spreads each model over devices, as in transformers; replaces `device`.
    quantization_config : optional
        How weights are packed while they are loaded, as in transformers. Blocks about weights
        show them unpacked, or say that they cannot.
    attn_implementation : "eager", optional
        The one attention that can be looked at.
    memory : "both" or "sequential"
        Whether both models stay loaded, or never more than one at a time.
    trust_remote_code : bool
        Run code that comes with a model; only for models you trust.
    base_revision, tuned_revision : str, optional
        Branch, tag or commit on the hub.
    tokenizer : str, path or tokenizer, optional
        Tokenizer for both models, instead of their own. A model in memory has none of its own: it
        takes the other's.
    concepts : ConceptSettings, optional
        How many components and words describe a feed-forward layer, and which words.

    Returns
    -------
    Pair
        Both models are loaded when they are first asked for, and checked then.

    Raises
    ------
    HeadIndexError
        If more components are asked for than the rank of the feed-forward weights.
    ModelLoadError
        If one of them cannot be read, or its files do not hold all of its weights.
    UnsupportedArchitectureError
        If twinlens has no description of their architecture, or would misread one of them: see
        `register_architecture`.
    PairMismatchError
        If they differ in architecture, size or tokenizer; found before weights are loaded.
    MemoryNeededError
        If they do not fit; says which setting would.
    ArgumentError
        If an argument is none of its choices.

    Examples
    --------
    >>> import twinlens as tl
    >>> pair = tl.load_pair("path/to/base", "path/to/tuned", memory="sequential")
    """
    if not (isinstance(memory, str) and memory in ("both", "sequential")):
        raise ArgumentError(f'memory is "both" or "sequential", not {memory!r}')
    if not (concepts is None or hasattr(concepts, "components")):
        raise ArgumentError(f"concepts is a twinlens.ConceptSettings(...), not {concepts!r}")
    check_attention(attn_implementation)
    check_places(device_map, base_revision=base_revision, tuned_revision=tuned_revision)
    number_type, place = read_dtype(dtype), read_device(device)
    if tuned is None:
        first, second = sources_of_adapter(base, tuned_revision, base_revision)
    else:
        first = source_of(base, base_revision)
        over = first if first.adapter is None else None
        second = source_of(tuned, tuned_revision, over)
    sources: dict[Side, ModelSource] = {"base": first, "tuned": second}
    options: dict[str, Any] = {
        "device_map": device_map,
        "dtype": number_type,
        "quantization_config": quantization_config,
        "trust_remote_code": trust_remote_code,
    }
    for source in sources.values():
        check_in_memory(source, place, options)
    # What is loaded beside a model in memory runs where that one does.
    beside = next((s.model for s in sources.values() if s.model is not None), None)
    options["device"] = place or (beside.device if beside is not None else torch.device("cpu"))
    if number_type is None:
        on_cpu = device_map is None and options["device"].type == "cpu"
        options["dtype"] = torch.float32 if on_cpu else "auto"
        if beside is not None:
            options["dtype"] = beside.dtype
    files = any(source.gguf for source in sources.values())
    with parsed_once() if files else nullcontext():
        read = {
            source: load_config(source, trust_remote_code)
            for source in dict.fromkeys(sources.values())
        }
        configs = {side: read[sources[side]] for side in SIDES}
        check_shapes(configs)
        tokenizers = _tokenizers(sources, tokenizer, trust_remote_code)
        check_tokenizers(tokenizers)
        if device_map is None:
            check_memory(sources, configs, options, memory)
        if concepts is not None:
            concepts.count(sizes(configs["base"]))
        pair = Pair(sources, configs, tokenizers, options, memory=memory, concepts=concepts)
        pair.note = _note(sources)
        if memory == "both":
            for side in SIDES:
                with pair.model(side):
                    pass
    return pair


def _tokenizers(
    sources: dict[Side, ModelSource],
    given: str | os.PathLike[str] | PreTrainedTokenizerFast | None,
    trust_remote_code: bool,
) -> dict[Side, PreTrainedTokenizerFast]:
    """The tokenizer of each side."""
    if isinstance(given, str | os.PathLike):
        of_both = load_tokenizer(tokenizer_source(given), trust_remote_code)
        return dict.fromkeys(SIDES, of_both)
    if given is not None:
        if not hasattr(given, "get_vocab"):
            raise ArgumentError(
                "tokenizer= is a hub id, a folder or a tokenizer of transformers, not of type "
                f"{type(given).__name__}"
            )
        return dict.fromkeys(SIDES, check_offsets(given, type(given).__name__))
    loaded = {source for source in sources.values() if source.model is None}
    read = {source: load_tokenizer(source, trust_remote_code) for source in loaded}
    own = {side: read[source] for side, source in sources.items() if source in read}
    if not own:
        raise ModelLoadError("models in memory bring no tokenizer: give load_pair tokenizer=")
    return {side: own.get(side) or next(iter(own.values())) for side in SIDES}


def _note(sources: dict[Side, ModelSource]) -> str:
    """One sentence where an adapter changes another model than it was trained over."""
    base, adapter = sources["base"], sources["tuned"].adapter
    if adapter is None or not adapter.base or base.adapter is not None:
        return ""
    if Path(adapter.base).name.lower() == Path(base.name).name.lower():
        return ""
    return (
        f"The adapter {adapter.name} says that it was trained over {adapter.base}; here it changes "
        f"{base.name}."
    )


@plainly()
@called_rightly
def demo_pair(concepts: ConceptSettings | None = None) -> Pair:
    """The embedded pair: two tiny models that come with the package; needs no network.

    Parameters
    ----------
    concepts : ConceptSettings, optional
        How many components and words describe a feed-forward layer, and which words.

    Returns
    -------
    Pair
        4 layers of 8 heads each, in memory; ``pair.card`` says how it was made.

    Raises
    ------
    HeadIndexError
        If more components are asked for than the rank of the feed-forward weights.
    ArgumentError
        If `concepts` is something else.

    Examples
    --------
    >>> import twinlens as tl
    >>> tl.demo_pair()
    <Pair 'mini-world' and 'mini-world-instruct': 4 layers of 8 heads>
    """
    folder = Path(str(files("twinlens") / "demo"))
    pair = load_pair(folder / "base", folder / "tuned", concepts=concepts)
    card = folder / "README.md"
    pair.card = card.read_text(encoding="utf-8") if card.is_file() else ""
    pair.names = {"base": "mini-world", "tuned": "mini-world-instruct"}
    pair.note = DEMO_NOTE
    return pair
