r"""Decode and resize a data set, or tokenise it, once, into Parquet shards.

Runs read the shards, with dataset=parquet, in place of the original files. The
work is done in parallel, and the same command resumes it. out is a folder or a URI
of pyarrow.fs; format=png keeps every bit. The other settings are dataset.*,
image_size, quality, shard_images, group_images and address.

With tokenizer=hf:NAME_OR_FOLDER texts become tokens instead, at most max_length
of each; runs read them with dataset=text_tokens or dataset=answer_tokens.

  fedra-ray prepare dataset=domainnet dataset.root=/data/DomainNet \
      out=/data/domainnet-224
  fedra-ray prepare dataset=jsonl dataset.root=/data/news tokenizer=hf:roberta-base \
      out=/data/news-tokens
"""

from argparse import ArgumentParser, Namespace

from fedra_ray.cli.choices import choices
from fedra_ray.cli.compose import compose_named
from fedra_ray.runtime.environment import declare

OPERANDS = ("SETTING=VALUE", "settings, as above")


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb: it has none, and says which data sets there are."""
    parser.epilog = choices({"dataset": None})


def carry_out(settings: list[str], options: Namespace) -> None:
    """Write the shards that are missing, and the manifest."""
    from fedra_ray.data.prepare.settings import PrepareConfig

    config = compose_named("prepare", PrepareConfig, settings)
    if config.tokenizer is not None:
        from fedra_ray.data.text.preparing import prepare_texts

        prepare_texts(config)
        return
    declare(config.address)
    from fedra_ray.runtime.preparation import prepare_dataset

    prepare_dataset(config)
