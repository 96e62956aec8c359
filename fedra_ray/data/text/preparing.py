"""Turns the texts of a data set into tokens once, for all runs that use one tokenizer and length."""

import dataclasses
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from rich.console import Console

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import filesystem, publish
from fedra_ray.config.schema import LANGUAGE
from fedra_ray.data.dataset import SPLITS, in_numbers
from fedra_ray.data.prepare.manifest import MANIFEST, read_manifest, to_json
from fedra_ray.data.prepare.progress import begin
from fedra_ray.data.prepare.settings import PrepareConfig, check
from fedra_ray.data.text.dataset import InstructionDataset, TextDataset, tokenised
from fedra_ray.data.text.prepared import ANSWER, FIRST, PAIR, SINGLE, TOKENS, Prepared

_SHARD_TEXTS = 65536


def prepare_texts(config: PrepareConfig) -> dict[str, Any]:
    """Write the texts' tokens into shards, then the manifest, and return it.

    Raises:
        SettingError: for a setting that cannot work, or texts that cannot be read.
    """
    check(config)
    console = Console(highlight=False, soft_wrap=True)
    tokenizer = str(config.tokenizer).removeprefix(LANGUAGE)
    dataset = _opened(config, tokenizer)
    console.print(f"{config.dataset.name}: {in_numbers(dataset)}", markup=False)
    for note in dataset.notes:
        console.print(f"{config.dataset.name}: {note}", markup=False)
    system, path = filesystem("out", config.out)
    if begin(config, [], system, path):
        console.print(f"{config.out} is already prepared", markup=False)
        return read_manifest(system, path)
    shards = [_write(part, number, system, path) for number, part in enumerate(_shards(dataset))]
    manifest = {
        "dataset": dataclasses.asdict(config.dataset),
        "max_length": config.max_length,
        "tokens": dataclasses.asdict(_described(tokenizer, dataset)) | {"notes": list(dataset.notes)},
        "domains": list(dataset.domains),
        "classes": list(dataset.classes),
        "class_numbers": list(dataset.class_numbers),
        "shards": shards,
    }
    publish(system, f"{path}/{MANIFEST}", to_json(manifest))
    texts = sum(shard["texts"] for shard in shards)
    use = "answer_tokens" if isinstance(dataset, InstructionDataset) else "text_tokens"
    written = f"{texts} {dataset.noun} in {len(shards)} shards"
    console.print(f"{written}; use them by dataset={use} dataset.root={config.out}", markup=False)
    return manifest


def _opened(config: PrepareConfig, tokenizer: str) -> TextDataset:
    try:
        return tokenised(config.dataset, tokenizer, config.max_length)
    except SettingError as error:
        setting, _, allowed = error.args
        if setting != "backbone.model":
            raise
        raise SettingError("tokenizer", config.tokenizer, allowed) from error


def _described(tokenizer: str, dataset: TextDataset) -> Prepared:
    from fedra_ray.model.text.sources import load_tokenizer, tokenizer_digest  # imports transformers: seconds

    kind, template = SINGLE, None
    if isinstance(dataset, InstructionDataset):
        kind, template = ANSWER, dataset.template
    elif dataset.first_lengths(dataset.domains[0], "train", np.zeros(0, dtype=np.int64)) is not None:
        kind = PAIR
    digest = tokenizer_digest(load_tokenizer(tokenizer))
    return Prepared(kind, LANGUAGE + tokenizer, digest, dataset.padding, template, dataset.notes)


def _shards(dataset: TextDataset) -> Iterator[pa.Table]:
    """The texts by domain and split, in tables of at most so many rows."""
    parts = (_table(dataset, domain, split) for domain in dataset.domains for split in SPLITS)
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= _SHARD_TEXTS:
            whole = pa.concat_tables(waiting)
            yield whole[:_SHARD_TEXTS]
            waiting = [whole[_SHARD_TEXTS:]]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)


def _table(dataset: TextDataset, domain: str, split: str) -> pa.Table:
    labels = dataset.labels(domain, split)
    every = np.arange(len(labels))
    if isinstance(dataset, InstructionDataset):
        firsts = dataset.prompt_lengths(domain, split, every)
    else:
        given = dataset.first_lengths(domain, split, every)
        firsts = np.zeros_like(labels) if given is None else given
    return pa.table(
        {
            TOKENS: pa.array(dataset.tokens(domain, split, every), pa.list_(pa.int32())),
            FIRST: pa.array(firsts, pa.int32()),
            "label": pa.array(np.array(dataset.class_numbers)[labels], pa.int64()),
            "label_name": pa.array([dataset.classes[label] for label in labels], pa.string()),
            "domain": pa.array([domain] * len(labels), pa.string()),
            "split": pa.array([split] * len(labels), pa.string()),
        }
    )


def _write(part: pa.Table, number: int, system: fs.FileSystem, path: str) -> dict[str, Any]:
    """Publish a shard; returns what the manifest says of it."""
    buffer = io.BytesIO()
    words = ["label_name", "domain", "split"]
    pq.write_table(part, buffer, compression="ZSTD", use_dictionary=words, write_page_checksum=True)
    content, file = buffer.getvalue(), f"{number:05}.parquet"
    publish(system, f"{path}/{file}", content)
    return {"file": file, "texts": len(part), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
