"""The families of language models whose blocks can be chosen freely. Nothing here imports transformers."""

from typing import NamedTuple


class Family(NamedTuple):
    """Where the parts of a family's model lie, as transformers names them.

    Attributes:
        blocks: Path of the list of blocks in the model without a head.
        norm: Path of the norm behind the blocks; None if every block ends with its own (post-LN).
        targets: Where LoRA goes by default: queries and values, as in LoRA (Hu et al., arXiv 2106.09685, section 4.2),
            or the layer that computes them.
        causal: Whether a token sees only those before it.
        weights: Whether blocks return their attention weights beside the tokens.
        behind_padding: Whether positions begin one behind the number of the padding token.
        shape: Whose blocks they have the parts of, if `fedra_ray.model.text.last_block` knows these: bert or llama.
    """

    blocks: str
    norm: str | None
    targets: tuple[str, ...]
    causal: bool
    weights: bool = False
    behind_padding: bool = False
    shape: str = ""


_BERT = Family("encoder.layer", None, ("attention.self.query", "attention.self.value"), causal=False, shape="bert")
_ROBERTA = _BERT._replace(behind_padding=True)
_LLAMA = Family("layers", "norm", ("self_attn.q_proj", "self_attn.v_proj"), causal=True, shape="llama")

#: By the `model_type` of a model's config.json. SmolLM and TinyLlama are of type llama, multilingual E5 is of type
#: bert, and DeBERTa-v3 of type deberta-v2.
FAMILIES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "deberta-v2": Family(
        "encoder.layer",
        None,
        ("attention.self.query_proj", "attention.self.value_proj"),
        causal=False,
        weights=True,
    ),
    "distilbert": Family("transformer.layer", None, ("attention.q_lin", "attention.v_lin"), causal=False),
    "gemma": _LLAMA,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gpt2": Family("h", "ln_f", ("attn.c_attn",), causal=True),
}

_BY_TURNS = "whose blocks see all tokens and a window of them by turns"
#: What keeps other known types from being stacks.
REFUSED = {
    "albert": "which repeats one block",
    "gemma2": _BY_TURNS,
    "gemma3_text": _BY_TURNS,
    "modernbert": f"{_BY_TURNS}, and whose first block has no norm",
    "smollm3": "whose blocks differ in whether they know positions",
    "t5": "whose first block has the positions of all",
}
