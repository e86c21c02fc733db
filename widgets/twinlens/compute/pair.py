"""A pre-trained model and its tuned twin, and what is known of their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from twinlens.compute.models.architectures import architecture_of, register_architecture, sizes
from twinlens.compute.models.checks import check_memory, check_shapes, check_tokenizers
from twinlens.compute.models.models import Models
from twinlens.compute.models.sources import ModelSource, load_config, load_tokenizer, source_of
from twinlens.compute.passes.reading_check import check_reading
from twinlens.contract.words import SIDES, Side

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from twinlens.compute.concepts.components import ConceptSettings
    from twinlens.compute.concepts.units import Concepts
    from twinlens.compute.heads.search import PairHeads, WordSource
    from twinlens.support.progress import Report
    from twinlens.weights.head_words import HeadWords

DEMO_NOTE = (
    "A teaching pair of tiny models, trained for this package on made-up text: "
    "not evidence about large models."
)


class Pair(Models):
    """A pre-trained model and its tuned twin, made by `load_pair`.

    Attributes
    ----------
    card : str
        Description of the embedded pair, else "".
    """

    of_this_process = Models.of_this_process | {"concepts", "head_weights"}

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
        """
        from twinlens.compute.heads.search import PairSearch

        search = PairSearch(self.weights, self.tokenizers["base"], words, **settings)
        pairs = search.find(layers, report)
        self.head_weights.search = search
        return pairs


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
        If twinlens has no description of their architecture, or would misread one of them: see
        `register_architecture`.
    PairMismatchError
        If they differ in architecture, size or tokenizer; found before weights are loaded.
    MemoryNeededError
        If they do not fit; says which setting would.
    """
    if memory not in ("both", "sequential"):
        raise ValueError(f'memory is "both" or "sequential", not {memory!r}')
    sources: dict[Side, ModelSource] = {
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
    check_shapes(configs)
    tokenizers = {
        side: load_tokenizer(
            sources[side] if tokenizer is None else source_of(tokenizer, None), trust_remote_code
        )
        for side in SIDES
    }
    check_tokenizers(tokenizers)
    if device_map is None:
        check_memory(configs, options, memory)
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
