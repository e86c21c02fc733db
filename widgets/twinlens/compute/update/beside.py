"""What differs beside the weights: configuration, tokenizer, chat template, generation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from twinlens.errors import ModelLoadError
from twinlens.weights.model_diff import FileDiff

#: What says nothing about a model.
_NEEDLESS = {
    *("_name_or_path", "name_or_path", "transformers_version", "_commit_hash", "architectures"),
    *("tokenizer_file", "is_local", "local_files_only", "_from_model_config", "use_cache"),
}
_SPECIAL = PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES
_TEMPLATE = "chat_template"
#: Longest value that is passed on; of longer ones the beginning.
_LONGEST = 400


def file_diffs(base: Path, tuned: Path, *, adapter: bool = False) -> Iterator[FileDiff]:
    """What differs in the files beside the weights of two model folders.

    Parameters
    ----------
    adapter : bool
        Whether tuned is an adapter: files that it does not have are those of base.

    Raises
    ------
    ModelLoadError
        If a file is no JSON.
    """
    for name, file in (("config", "config.json"), ("generation config", "generation_config.json")):
        if not (adapter and not (tuned / file).is_file()):
            yield from _differing(name, _json(base / file), _json(tuned / file))
    if adapter and not (tuned / "tokenizer_config.json").is_file():
        return
    settings = [_json(folder / "tokenizer_config.json") for folder in (base, tuned)]
    if not all(settings) and not any((f / "tokenizer.json").is_file() for f in (base, tuned)):
        return
    yield from _tokenizers(_json(base / "tokenizer.json"), _json(tuned / "tokenizer.json"))
    templates = [_template(f, said) for f, said in zip((base, tuned), settings, strict=True)]
    if templates[0] != templates[1]:
        yield FileDiff("chat template", "text", *(text[:_LONGEST] for text in templates))
    special = []
    for folder, said in zip((base, tuned), settings, strict=True):
        known = _json(folder / "special_tokens_map.json") | said
        special.append({key: _token(known[key]) for key in _SPECIAL if key in known})
    yield from _differing("special tokens", special[0], special[1])
    apart = {*_SPECIAL, _TEMPLATE, "added_tokens_decoder"}
    rest = [{key: v for key, v in said.items() if key not in apart} for said in settings]
    yield from _differing("tokenizer", rest[0], rest[1])


def _tokenizers(base: dict[str, Any], tuned: dict[str, Any]) -> Iterator[FileDiff]:
    """What differs in what ``tokenizer.json`` says."""
    if not (base and tuned):
        if base or tuned:
            yield FileDiff(
                "tokenizer", "file", *("there" if config else "" for config in (base, tuned))
            )
        return
    ours, theirs = (_vocabulary(config) for config in (base, tuned))
    if ours != theirs:
        moved = sum(ours[token] != theirs[token] for token in ours.keys() & theirs.keys())
        gone, new = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        said = (f"{len(ours):,} tokens{_some(gone)}", f"{len(theirs):,} tokens{_some(new)}")
        yield FileDiff("tokenizer", "vocabulary", *said)
        if moved:
            yield FileDiff("tokenizer", "tokens with another id", "", f"{moved:,}")
    added = [
        {token.get("content", ""): token for token in said.get("added_tokens") or []}
        for said in (base, tuned)
    ]
    special = [{text for text, token in said.items() if token.get("special")} for said in added]
    if special[0] != special[1]:
        yield FileDiff(
            "special tokens",
            "added",
            *(", ".join(sorted(a - b)) for a, b in (special, reversed(special))),
        )
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if base.get(part) != tuned.get(part):
            yield FileDiff("tokenizer", part, _said(base.get(part)), _said(tuned.get(part)))
    merges = [(said.get("model") or {}).get("merges") for said in (base, tuned)]
    if merges[0] != merges[1]:
        counts = (f"{len(rules):,}" if rules is not None else "" for rules in merges)
        yield FileDiff("tokenizer", "merges", *counts)


def _vocabulary(said: dict[str, Any]) -> dict[str, Any]:
    """Id of every token; of unigram tokenizers the list gives it by its order."""
    vocabulary = (said.get("model") or {}).get("vocab") or {}
    if isinstance(vocabulary, list):
        vocabulary = {str(entry[0]): place for place, entry in enumerate(vocabulary)}
    added = {token.get("content", ""): token.get("id") for token in said.get("added_tokens") or []}
    return {**vocabulary, **added}


def _some(tokens: list[str]) -> str:
    if not tokens:
        return ""
    more = ", …" if len(tokens) > 3 else ""
    return f" ({len(tokens):,} of its own: {', '.join(tokens[:3])}{more})"


def _template(folder: Path, settings: Mapping[str, Any]) -> str:
    beside = folder / f"{_TEMPLATE}.jinja"
    if beside.is_file():
        return beside.read_text("utf-8", errors="replace")
    template = settings.get(_TEMPLATE) or ""
    return template if isinstance(template, str) else json.dumps(template, sort_keys=True)


def _token(value: Any) -> Any:
    return value.get("content", "") if isinstance(value, dict) else value


def _differing(
    file: str, base: Mapping[str, Any], tuned: Mapping[str, Any], path: str = ""
) -> Iterator[FileDiff]:
    for key in sorted(base.keys() | tuned.keys()):
        ours, theirs = base.get(key), tuned.get(key)
        if key in _NEEDLESS or ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from _differing(file, ours, theirs, f"{path}{key}.")
        else:
            yield FileDiff(file, f"{path}{key}", _said(ours), _said(theirs))


def _said(value: Any) -> str:
    if value is None:
        return ""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:_LONGEST]


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"{path.name!r} of {path.parent.name!r} is no JSON ({error})"
        ) from error
    return said if isinstance(said, dict) else {}
