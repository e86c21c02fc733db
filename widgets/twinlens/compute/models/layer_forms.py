"""Forms that single models of a family have, as their configuration says.

The smaller models of Gemma 4 give every layer embeddings of the tokens of its own, and their last
layers read keys and values of an earlier one.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from twinlens.errors import UnsupportedArchitectureError

_OTHERS = "all that is about tokens, heads and layers works"


def layer_embeddings(config: PretrainedConfig) -> int:
    """Numbers that each layer reads of a token beside the residual stream; 0 in most families."""
    return int(getattr(config, "hidden_size_per_layer_input", None) or 0)


def without_keys(config: PretrainedConfig) -> int:
    """How many layers, the last ones, read keys and values of an earlier one."""
    return int(getattr(config, "num_kv_shared_layers", None) or 0)


def one_width(config: PretrainedConfig) -> bool:
    """Whether all feed-forward layers have as many neurons."""
    wider: Any = getattr(config, "use_double_wide_mlp", False)
    return not (wider and without_keys(config))


def check_one_width(config: PretrainedConfig) -> None:
    """Make sure that all feed-forward layers have as many neurons.

    Raises
    ------
    UnsupportedArchitectureError
        If they have not.
    """
    if not one_width(config):
        raise UnsupportedArchitectureError(
            f"the last feed-forward layers of this {config.model_type!r} model have twice as many "
            f"neurons as the others, so that neurons and components are not shown: {_OTHERS}"
        )


def check_layers_alone(config: PretrainedConfig, what: str) -> None:
    """Make sure that a layer reads the residual stream and nothing else.

    Parameters
    ----------
    what : str
        What is asked for, "... cannot ...".

    Raises
    ------
    UnsupportedArchitectureError
        If it does.
    """
    if layer_embeddings(config) or without_keys(config):
        raise UnsupportedArchitectureError(
            f"{what}, because layers of this {config.model_type!r} model read more than the "
            "residual stream: embeddings of their own, or keys and values of earlier layers"
        )
