"""Names of stored tensors, and what is wrong with a checkpoint whose names do not fit its model."""

from __future__ import annotations

import re
from collections.abc import Collection

#: What training puts in front of names, or into them: torch.compile, DDP, FSDP, checkpointing.
#: As transformers' ``key_mapping`` wants it: pattern and what stands in its place.
WRAPPERS = {
    r"^(?:(?:module|_orig_mod|_fsdp_wrapped_module)\.)+": "",
    r"\.(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+": ".",
}
#: Where a model that reads pictures or sound, too, keeps its part for text.
TEXT_PART = {
    r"^(?:language_model\.model|model\.language_model)\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}
_LISTED = 3
#: Parts of names that a plain checkpoint does not have, and why it has them.
_CAUSES = {
    r"lora_|base_layer\.|modules_to_save|^base_model\.model\.|trainable_tokens_": "it was saved "
    "with an adapter in it: merge it (merge_and_unload) before saving, or load the adapter itself",
    r"weight_scale|qweight|qzeros|absmax|quant_state|weight_packed|\.SCB$": "its weights are "
    "quantised, but its config.json has no quantization_config that says how",
}
#: What old or calibrated checkpoints hold beside the weights and no model needs, and parts that
#: read pictures or sound.
_NEEDLESS = re.compile(
    r"(inv_freq|masked_bias|attn\.bias|attention\.bias|[^t]_scale)$"
    r"|^(?:model\.)?(?:vision_|visual|audio_|multi_modal_projector|embed_(?:vision|audio))"
)
_LAYER = re.compile(r"\.(\d+)\.")


def plain(name: str) -> str:
    """The name of a tensor without what wrapped its module, and as the part for text has it."""
    for pattern, instead in (WRAPPERS | TEXT_PART).items():
        name = re.sub(pattern, instead, name)
    return name


def misfit(
    missing: Collection[str], unexpected: Collection[str], mismatched: Collection[str], layers: int
) -> str:
    """What is wrong with a checkpoint, one clause with the likely cause, or "" if nothing is.

    Parameters
    ----------
    missing : collection of str
        Tensors that the model needs and the checkpoint has not.
    unexpected : collection of str
        Tensors that the model has no place for. Without one it computes something else only if
        they belong to one of its `layers`: heads for other tasks may be left out.
    mismatched : collection of str
        Tensors of another shape than the configuration says.
    """
    foreign = {name: why for name in unexpected if (why := _why(name))}
    left_out = [name for name in unexpected if _in_a_layer(name, layers)]
    clauses = []
    if missing:
        clauses.append(f"it lacks {_listed(missing)}, which its configuration asks for")
    if mismatched:
        clauses.append(f"{_listed(mismatched)} has another shape than its configuration says")
    if foreign or (left_out and not clauses):
        clauses.append(f"the model has no place for {_listed(foreign or left_out)}")
    causes = sorted(set(foreign.values()))
    if missing and not foreign:
        causes = [
            f"its tensors have other names, such as {_listed(unexpected)}"
            if unexpected
            else "it is incomplete, or the configuration is that of another model"
        ]
    return "; ".join([*clauses, *causes])


def differences(missing: Collection[str], unexpected: Collection[str]) -> str:
    """Which tensors are not there, and which have no place."""
    clauses = [f"it lacks {_listed(missing)}"] if missing else []
    if unexpected:
        clauses.append(f"the model has no place for {_listed(unexpected)}")
    return "; ".join(clauses)


def _why(name: str) -> str:
    return next((why for pattern, why in _CAUSES.items() if re.search(pattern, name)), "")


def _in_a_layer(name: str, layers: int) -> bool:
    number = _LAYER.search(name)
    return number is not None and int(number[1]) < layers and not _NEEDLESS.search(name)


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:_LISTED]
    rest = len(names) - len(first)
    return ", ".join(map(repr, first)) + (f" and {rest} more" if rest else "")
