"""From models to results: `explore`, `open`, `live_page`, `word_pairs` and `diff` of `twinlens`.

The module has none of their names: a submodule of that name would take the function's place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.contract.words import PUBLISHED
from twinlens.errors import ArgumentError
from twinlens.pages.live_page import check_examples, demo_prompts, live_html, viewer_html
from twinlens.pages.page import Theme, check_page
from twinlens.support.calls import called_rightly
from twinlens.support.files import checked_path, replacing
from twinlens.support.progress import progress
from twinlens.traces import recording
from twinlens.view.explorer import Explorer
from twinlens.view.first_view import check_places, check_traits

if TYPE_CHECKING:
    from twinlens.compute.heads.search import WordSource
    from twinlens.compute.pair import Pair
    from twinlens.compute.text.chat import Message, Spans
    from twinlens.weights.head_words import HeadWords
    from twinlens.weights.model_diff import ModelDiff


@called_rightly
def explore(
    pair: Pair,
    prompt: str | Sequence[Message],
    *,
    instruction: Spans = None,
    context: Spans = None,
    response: str = "shared",
    answer: str | None = None,
    max_new_tokens: int = 64,
    template: bool | str | None = None,
    tools: Sequence[Any] | None = None,
    chat: Mapping[str, Any] | None = None,
    **traits: Any,
) -> Explorer:
    """Run both models on one prompt and open linked panels over what happened inside.

    The model whose answer is read writes it greedily, and both models read prompt and answer once;
    everything else is computed when a panel asks for it.

    Parameters
    ----------
    pair : Pair
        From `load_pair` or `demo_pair`.
    prompt : str or list of messages
        What both models read: a text, or ``{"role": ..., "content": ...}`` messages.
    instruction, context : text, (start, end), or a sequence of these, optional
        Parts of the prompt, as text or as character positions. Of messages: a text, where it
        occurs first; ``(message, text)``; ``(message, start, end)``; or the number of a message,
        which counts from 0, or from the last with -1.
    response : {"shared", "own", "base", "tuned"} or str
        Which answer is traced. ``"shared"``, the default, lets both models read the tuned
        model's answer (the same as ``"tuned"``), ``"base"`` the base model's, any other text
        that text: then position by position the two read the same tokens, and every number of
        one can be compared with the other's. ``"own"`` is the way of Wu et al. (2310.00492):
        each model answers for itself, and answers of different length are compared as wholes.
    answer : str, optional
        The text both models read as the answer, whatever it says (also ``"base"``); replaces
        `response`.
    max_new_tokens : int
        Longest answer of a model in tokens.
    template : bool or {"tuned", "base", "own", "plain"}, optional
        Whose chat template both models read the prompt in: ``True`` or ``"tuned"`` the tuned
        model's, ``"base"`` the base model's, ``False`` or ``"plain"`` none. By default messages
        have the tuned model's and a text none. With ``"own"`` each model reads its own, or the
        text alone where it has none: both prompts stand in one row, the text itself once. What
        puts parts of one model into a pass of the other needs one prompt and is left out.
    tools : sequence, optional
        Tools that the chat template describes: functions, or JSON schemas.
    chat : mapping, optional
        Settings of the chat template, such as ``{"enable_thinking": False}``.
    **traits
        Initial selection, ``method``, ``theme`` and ``presentation`` of the explorer.

    Returns
    -------
    Explorer

    Raises
    ------
    PromptError
        If the prompt is empty or too long, a marked part is not in it, or the chat template
        refuses it.
    AnswerError
        If there is no answer to explain.
    ArgumentError
        If an argument is unknown, of the wrong kind, or not in the text.

    Examples
    --------
    >>> import twinlens as tl
    >>> ex = tl.explore(
    ...     tl.demo_pair(),
    ...     "Make this sentence negative: The cat swims.",
    ...     instruction="Make this sentence negative:",
    ...     template=True,
    ... )
    >>> ex.trace.manifest.answers["tuned"].text
    'The cat does not swim at the station.'
    >>> ex.trace.saliency("tuned").values.shape  # prompt tokens, answer tokens
    (17, 10)
    """
    from twinlens.compute.live.aligned_trace import trace_of
    from twinlens.compute.saliency.methods import METHODS

    _check_pair(pair, "explore")
    check_traits(
        traits,
        METHODS,
        {
            "layer": pair.sizes.layers,
            "head": pair.sizes.heads,
            "component": pair.concepts.count,
            "neuron": pair.sizes.intermediate,
        },
        beside=[p.name for p in signature(explore).parameters.values() if p.kind == p.KEYWORD_ONLY],
    )
    with progress("tracing") as report:
        trace = trace_of(
            pair,
            prompt,
            instruction=instruction,
            context=context,
            response=response,
            answer=answer,
            max_new_tokens=max_new_tokens,
            template=template,
            tools=tools,
            chat=chat,
            known=partial(check_places, traits),
            report=report,
        )
    return Explorer(trace, **traits)


@called_rightly
def open(path: str | os.PathLike[str], **traits: Any) -> Explorer:
    """Open a recording (``.twl``): the same panels and numbers, without models and without torch.

    Parameters
    ----------
    path : path
    **traits
        Initial selection, ``method``, ``theme`` and ``presentation`` of the explorer.

    Returns
    -------
    Explorer

    Raises
    ------
    RecordingError
        If the file is missing, damaged, or newer than this version of twinlens.

    Examples
    --------
    >>> import twinlens as tl
    >>> ex = tl.open("rewrite.twl")
    >>> ex.select(layer=1)
    """
    return Explorer(recording.read(path), **traits)


@called_rightly
def live_page(
    path: str | os.PathLike[str],
    pair: Pair | None = None,
    *,
    examples: Sequence[Mapping[str, str]] | None = None,
    max_new_tokens: int = 64,
    recorded: int = 1,
    title: str | None = None,
    theme: Theme = "auto",
) -> Path:
    """Write one offline page in which both models run on whatever its reader types.

    The page needs no network and no kernel: a worker of the browser computes, with the numbers
    that Python gives to 1e-4 nats. Of the measures that need gradients only what carries the
    difference is there; the others are left out with a sentence. Its policy is that of every
    page of twinlens with one thing more, `wasm-unsafe-eval`: its own WebAssembly may be compiled.

    Parameters
    ----------
    path : path
    pair : Pair, optional
        By default the embedded pair. A page runs models like Llama (plain attention, SwiGLU) of up
        to 10 million parameters each with a byte-level tokenizer; weights of more than half
        precision are rounded to it.
    examples : sequence of mappings, optional
        Prompts to choose from: ``title``, ``prompt``, and ``instruction`` and ``context``, parts
        of it. By default those prepared for the embedded pair; of another pair none.
    max_new_tokens : int
        Longest answer of a model.
    recorded : int
        For how many of the examples what needs gradients is recorded: the paper's saliency,
        estimates, the update taken apart; and findings with what carries the difference, which the
        page computes for any other prompt. Some ten seconds each.
    title : str, optional
        Title of the page, by default the names of the two models.
    theme : {"auto", "light", "dark"}

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UnsupportedArchitectureError
        If a page cannot run the pair; says why.
    PromptError
        If a marked part is not in the prompt of an example.

    Examples
    --------
    >>> import twinlens as tl
    >>> page = tl.live_page("live.html", examples=[], recorded=0)
    """
    from twinlens.compute.live.live import trace_pair
    from twinlens.compute.packed.packed_pair import pack_pair
    from twinlens.compute.pair import demo_pair
    from twinlens.compute.text.arguments import read_length, whole_number

    target = checked_path(path, "the page to write")
    if pair is not None:
        _check_pair(pair, "live_page")
    prepared = demo_prompts() if pair is None and examples is None else check_examples(examples)
    listed = [_example(example) for example in prepared]
    longest = read_length(max_new_tokens)
    check_page(title, theme)
    if whole_number(recorded) is None:
        raise ArgumentError(f"recorded= is a number of examples, not {recorded!r}")
    with progress("packing the models") as report:
        chosen = demo_pair() if pair is None else pair
        packed = pack_pair(chosen, longest)
        template = packed.state["template"] is not None
        traces = [
            trace_pair(
                chosen,
                example["prompt"],
                instruction=example.get("instruction") or None,
                context=example.get("context") or None,
                response="tuned",
                template=template,
                max_new_tokens=longest,
            )
            for example in prepared[:recorded]
        ]
        for example, trace in zip(listed, traces, strict=False):
            methods = trace.manifest.to_json()["methods"]
            example["methods"] = [method for method in methods if method["name"] == PUBLISHED]
        names = packed.state["pair"]
        data = live_html(
            {**packed.state, "examples": listed, "theme": theme},
            packed.weights,
            packed.known,
            packed.trace,
            title=title or f"{names['base']['name']} · {names['tuned']['name']}",
            recorded=traces,
            report=report,
        )
    with replacing(target) as stream:
        stream.write(data)
    return target


@called_rightly
def viewer_page(path: str | os.PathLike[str]) -> Path:
    """Write one offline page without models, which shows recordings that are dropped onto it.

    A recording (``.twl``) is read in the page and goes nowhere. Charts, which Python draws, are
    left out.

    Parameters
    ----------
    path : path

    Returns
    -------
    Path
        The page, a few hundred kilobytes.

    Raises
    ------
    ArgumentError
        If `path` is no path.
    OutputError
        If the page cannot be written there.
    TwinlensError
        If the front end is not built.

    Examples
    --------
    >>> import twinlens as tl
    >>> page = tl.viewer_page("viewer.html")
    """
    target = checked_path(path, "the page to write")
    with replacing(target) as stream:
        stream.write(viewer_html())
    return target


def _check_pair(pair: Any, what: str) -> None:
    from twinlens.compute.pair import Pair
    from twinlens.compute.text.arguments import kind_of

    if not isinstance(pair, Pair):
        raise ArgumentError(
            f"pair= is {kind_of(pair)}: give {what} a pair from load_pair or demo_pair"
        )


def _example(example: Mapping[str, str]) -> dict[str, Any]:
    """An example with its marked parts by their code points."""
    from twinlens.compute.text.prompt import check_marked

    prompt = example["prompt"]
    parts = {name: example.get(name) or None for name in ("instruction", "context")}
    check_marked(prompt, **parts)
    spans = {
        name: None if not part else [prompt.find(part), prompt.find(part) + len(part)]
        for name, part in parts.items()
    }
    return {"title": example.get("title", prompt), "prompt": prompt, **spans}


@called_rightly
def word_pairs(
    base: str | os.PathLike[str],
    tuned: str | os.PathLike[str],
    words: WordSource | None = None,
    *,
    layers: Iterable[int] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> HeadWords:
    """Word pairs of the attention heads of two models, without loading them.

    Weights are read layer by layer. With a loaded pair use ``pair.word_pairs``, with which the
    panels show the same.

    Parameters
    ----------
    base, tuned : path or hub id
        Model folders, safetensors files with a ``config.json`` beside them, or models of the hub.
    words : Vocabulary, path or iterable of str, optional
        Words to describe heads with: a file of one word per line, or the words; by default the
        20,000 most frequent English ones, or those of a small tokenizer.
    layers : iterable of int, optional
        Layers to look at; all by default.
    tokenizer : path or hub id, optional
        By default that of the base model's folder.
    **settings
        ``cooccurrence`` (a GloVe or word2vec file, or a function from words to vectors; by
        default the base model's input embeddings), ``top`` (K), ``z``, ``frequent``, ``cache``
        (whether or where finished layers are kept) and ``device``; ``base_revision`` and
        ``tuned_revision`` on the hub.

    Returns
    -------
    HeadWords
        Pairs by head and by word, and the paper's table 3 with its figure.

    Raises
    ------
    ModelLoadError, UnsupportedArchitectureError, PairMismatchError
        If the models cannot be read or compared.
    VocabularyError
        If fewer words than K have a vector, or words or vectors cannot be read.
    ArgumentError
        If a setting is unknown or of the wrong kind.

    Examples
    --------
    >>> import twinlens as tl
    >>> pairs = tl.word_pairs("path/to/base", "path/to/tuned", top=5, layers=[0])
    >>> gained_kept_lost = pairs.head(0, 0)
    """
    from twinlens.compute.heads.search import stored_search

    search = stored_search(base, tuned, words, tokenizer=tokenizer, **settings)
    with progress("word pairs") as report:
        return search.find(layers, report)


@called_rightly
def diff(
    base: str | os.PathLike[str],
    tuned: str | os.PathLike[str] | None = None,
    *,
    base_revision: str | None = None,
    tuned_revision: str | None = None,
) -> ModelDiff:
    """Say whether one model is another one tuned, from their files, without loading either.

    Tensors are read in pairs, one at a time. A copy in another precision or a quantised copy is
    told apart from training, and so is one whose tensors have other names.

    Parameters
    ----------
    base, tuned : path or hub id
        Model folders, safetensors files, or models of the hub, of any family. `tuned` may be a
        LoRA adapter, which alone is compared with the model that it names.
    base_revision, tuned_revision : str, optional
        Branch, tag or commit on the hub.

    Returns
    -------
    ModelDiff
        What differs, tensor by tensor (`to_frame`) and beside the weights (`files_frame`);
        printed it is one screen.

    Raises
    ------
    ModelLoadError
        If files cannot be read, or an adapter was trained over another model.
    UnsupportedArchitectureError
        If an adapter is of a kind whose change is not in its file.

    Examples
    --------
    >>> import twinlens as tl
    >>> tl.diff("path/to/base", "path/to/tuned").verdict
    'trained'
    """
    from twinlens.compute.update.stored_diff import diff_of_files

    with progress("comparing tensors") as report:
        return diff_of_files(
            base,
            tuned,
            base_revision=base_revision,
            tuned_revision=tuned_revision,
            report=report,
        )
