"""Small language models of every family, made of settings alone: nothing is downloaded."""

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from fedra_ray.model import _torchvision  # noqa: F401  (must come before transformers)

import transformers  # isort: skip

VOCABULARY = 40
#: Settings of a model of five blocks, by its `model_type`, without dropout so that values can be compared.
SETTINGS: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 32, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "xlm-roberta": {"intermediate_size": 32, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "deberta-v2": {
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "relative_attention": True,  # as DeBERTa-v3's, from here on
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    },
    "gemma": {"intermediate_size": 32, "num_key_value_heads": 1, "head_dim": 8},
    "roberta": {"intermediate_size": 32, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "distilbert": {"hidden_dim": 32, "dropout": 0.0, "attention_dropout": 0.0},
    "llama": {"intermediate_size": 32, "num_key_value_heads": 1},
    "mistral": {"intermediate_size": 32, "num_key_value_heads": 1, "sliding_window": 3},
    "qwen2": {"intermediate_size": 32, "num_key_value_heads": 1},
    "qwen3": {"intermediate_size": 32, "num_key_value_heads": 1, "head_dim": 8},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
_SHAPE = {
    "distilbert": {"dim": 16, "n_heads": 2, "n_layers": 5},
    "gpt2": {"n_embd": 16, "n_head": 2, "n_layer": 5},
}
_USUAL = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 5}
LAYERS = {"distilbert": "n_layers", "gpt2": "n_layer"}  # the name of the number of blocks, where it is another one
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def gradient(model: Any, scores: torch.Tensor) -> torch.Tensor:
    """The gradient, of everything that a sub-model trains, of the sum of the squared scores."""
    scores.square().sum().backward()
    return torch.cat([part for part in model.gradients if len(part)])


def assert_same(scores: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
    """Two ways to compute give the same scores and gradients, to 1e-5 of their norm (fp32), and these are not zero."""
    for one, other in (scores, gradients):
        assert (one - other).norm() <= 1e-5 * other.norm()
        assert other.abs().sum() > 0


def settings(kind: str, **changes: Any) -> Any:
    """The settings of a small model of a family; `blocks` among the changes is its number of blocks."""
    values = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 1}
    if kind != "distilbert":
        values |= {"bos_token_id": 0, "eos_token_id": 2}
    values |= _SHAPE.get(kind, _USUAL) | SETTINGS[kind]
    if "blocks" in changes:
        values[LAYERS.get(kind, "num_hidden_layers")] = changes.pop("blocks")
    return transformers.AutoConfig.for_model(kind, **values | changes)


def write_model(folder: Path, kind: str, own_head: bool = False, **changes: Any) -> Any:
    """Write a random model with a tokenizer of letters into a folder; returns the model of transformers.

    Its weights lie far from first values, so that no block does nothing.
    """
    torch.manual_seed(0)
    factory = transformers.AutoModelForCausalLM if own_head else transformers.AutoModel
    model = factory.from_config(settings(kind, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if own_head:
            model.get_output_embeddings().weight.mul_(8)  # so that it can be sure of a token
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model.eval()


def folders(make: Callable[[str], Path], write: Callable[[Path, str], object]) -> Callable[[str], Path]:
    """A function that gives the folder of a model of a family, which is written when it is first asked for.

    Args:
        make: Makes an empty folder of such a name.
        write: Writes a model of such a family into it.
    """

    @cache
    def folder(kind: str) -> Path:
        place = make(kind)
        write(place, kind)
        return place

    return folder


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as Parquet or as lines of JSON, compressed if the name ends so."""
    file.parent.mkdir(exist_ok=True, parents=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file.write_bytes(gzip.compress(lines) if file.suffix == ".gz" else lines)
    return file


def write_tokenizer(folder: Path, chat_template: str | None = None) -> None:
    """A tokenizer that gives every letter a token, between those of a beginning and an end."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.chat_template = chat_template
    fast.save_pretrained(folder)
