"""Language models read from a folder or the Hugging Face hub: settings, safetensors and tokenizers, and no code."""

import hashlib
import json
import os
from contextlib import nullcontext
from typing import Any

import torch

from fedra_ray.model import _torchvision  # noqa: F401  (must come before transformers)

import transformers  # isort: skip
from transformers import initialization  # isort: skip

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import resolve
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.quantized import quantize
from fedra_ray.model.text.families import FAMILIES, REFUSED
from fedra_ray.model.text.stack import TextStack

USUAL_LENGTH = 128  # tokens of a text, where backbone.max_length is null
_NOT_LOADED = ("pooler.",)  # parts of a model that no stack has
#: Settings of transformers by which blocks of one model differ, or do more than a block of a stack, if they are true.
_UNLIKE = ("is_decoder", "add_cross_attention", "scale_attn_by_inverse_layer_idx", "conv_kernel_size")

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def build_stack(config: BackboneConfig, blank: bool = False) -> TextStack:
    """The model with random weights, frozen and in evaluation mode; reads no more than its settings.

    Args:
        config: The model.
        blank: Leave the weights as memory happens to be, which takes no time: for a caller that replaces them all.

    Raises:
        SettingError: if these cannot be read, are of a family that is no stack, or the settings of the backbone do not
            fit them.
    """
    settings = _settings(config)
    with initialization.no_init_weights() if blank else nullcontext():
        model = _class(config).from_config(settings)
    stack = _stack(config, settings, model)
    if config.quantization is not None:
        quantize(stack.blocks, config.quantization, blank)
    return stack


def load_stack(config: BackboneConfig) -> TextStack:
    """The model with its weights in float32, not quantised, frozen and in evaluation mode.

    Raises:
        SettingError: as `build_stack`; or if the weights are missing, damaged or those of another model.
    """
    settings = _settings(config)
    place, options = _place(config.checkpoint or str(config.source))
    name, value = ("checkpoint", config.checkpoint) if config.checkpoint else ("model", config.model)
    try:
        model, found = _class(config).from_pretrained(
            place, config=settings, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:  # network, hub, file system and safetensors each fail in their own way
        raise SettingError(f"backbone.{name}", value, f"its weights cannot be read: {error_text(error)}") from error
    blocks = f"{FAMILIES[settings.model_type].blocks}."
    wrong = [key for key in found["missing_keys"] if not key.startswith(_NOT_LOADED)]
    wrong += [key for key in found["unexpected_keys"] if blocks in key]
    wrong += [str(entry[0]) for entry in found["mismatched_keys"]]
    if config.head == "own" and settings.tie_word_embeddings:
        embedding, head = (part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings()))
        wrong += [] if embedding is head or torch.equal(embedding, head) else ["tie_word_embeddings"]
    if wrong:
        allowed = f"its weights do not fit its config.json and backbone.model_args: {', '.join(sorted(wrong)[:3])}"
        raise SettingError(f"backbone.{name}", value, allowed)
    return _stack(config, settings, model)


def load_tokenizer(place: str) -> Any:
    """The tokenizer of a model: transformers' class over the fast library.

    Args:
        place: A folder or a name on the hub.

    Raises:
        SettingError: if there is none that works without code of its own.
    """
    where, options = _place(place)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
    except Exception as error:  # as above
        reason = f"no tokenizer can be read there: {error_text(error)}"
        raise SettingError("backbone.model", f"hf:{place}", reason) from error
    if not getattr(tokenizer, "is_fast", False):
        raise SettingError("backbone.model", f"hf:{place}", "must have a fast tokenizer: a tokenizer.json")
    return tokenizer


def tokenizer_digest(tokenizer: Any) -> str:
    """What tells a tokenizer from others that make other tokens: the SHA-256 of its rules and vocabulary."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for name in ("truncation", "padding"):  # left there by its last use
        state.pop(name, None)
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _place(place: str) -> tuple[str, dict[str, Any]]:
    """A folder or a name of the hub, and the options with which transformers reads it and nothing else."""
    folder = resolve(place)
    if os.path.isdir(folder):
        return str(folder), {"local_files_only": True, "trust_remote_code": False}
    return place, {"trust_remote_code": False}


def _settings(config: BackboneConfig) -> Any:
    """The model's settings, with those of `backbone.model_args` in place of its own."""
    place, options = _place(str(config.source))
    _check_type(config, place)
    try:
        settings = transformers.AutoConfig.from_pretrained(place, **options)
    except Exception as error:
        reason = f"no folder with a config.json and no model of the hub that can be read: {error_text(error)}"
        raise SettingError("backbone.model", config.model, reason) from error
    _check_family(config, settings.model_type)
    if config.head == "own" and not FAMILIES[settings.model_type].causal:
        allowed = (
            f"must be trained for {config.model}: a {settings.model_type} sees all tokens and predicts no next one"
        )
        raise SettingError("backbone.head", config.head, allowed)
    for name, value in config.model_args.items():
        if not hasattr(settings, name):
            raise SettingError(f"backbone.model_args.{name}", value, f"is no setting of {settings.model_type} models")
        setattr(settings, name, value)
    for name in _UNLIKE:
        if getattr(settings, name, False):
            allowed = f"must be 0 or false: with {name} blocks are not exchangeable"
            raise SettingError("backbone.model", config.model, allowed)
    kinds = set(getattr(settings, "layer_types", None) or ())
    if len(kinds) > 1:
        allowed = f"must have blocks with the same inputs; its attention differs by block: {', '.join(sorted(kinds))}"
        raise SettingError("backbone.model", config.model, allowed)
    return settings


def _check_type(config: BackboneConfig, place: str) -> None:
    """Refuse another family by the file of a folder, before transformers reads it."""
    file = os.path.join(place, "config.json")
    if not os.path.isfile(file):
        return
    try:
        with open(file, "rb") as stream:
            kind = str(json.load(stream)["model_type"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        reason = f"its config.json is not one of transformers: {error_text(error)}"
        raise SettingError("backbone.model", config.model, reason) from error
    _check_family(config, kind)


def _check_family(config: BackboneConfig, kind: str) -> None:
    if kind not in FAMILIES:
        reason = f", {REFUSED[kind]}" if kind in REFUSED else ""
        allowed = f"is a model of type {kind[:40]}{reason}; its type must be one of {', '.join(sorted(FAMILIES))}"
        raise SettingError("backbone.model", config.model, allowed)


def _class(config: BackboneConfig) -> Any:
    """Transformers' class of the model: without a head, or with its own one."""
    return transformers.AutoModelForCausalLM if config.head == "own" else transformers.AutoModel


def _stack(config: BackboneConfig, settings: Any, model: Any) -> TextStack:
    family = FAMILIES[settings.model_type]
    trunk = model.base_model if config.head == "own" else model
    if getattr(trunk, "pooler", None) is not None:
        trunk.pooler = None
    positions = settings.max_position_embeddings
    if settings.model_type.endswith("roberta"):  # its positions begin behind that of padding
        positions -= settings.pad_token_id + 1
    length = config.max_length or min(USUAL_LENGTH, positions)
    if length > positions:
        raise SettingError("backbone.max_length", length, f"must be at most the model's {positions} positions")
    pooling = config.pooling or ("last" if family.causal else "first")
    place, head = None, None
    if config.head == "own":
        place = str(model.base_model_prefix)
        head = None if settings.tie_word_embeddings else model.get_output_embeddings()
    return TextStack(trunk, family, pooling, length, place, head).requires_grad_(False).eval()
