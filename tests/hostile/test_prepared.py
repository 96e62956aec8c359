"""What `prepare` leaves beside its shards, changed by a stranger: a `SettingError`, or a shard that is written anew."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem
from support import write_parquet

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.prepare.progress import begin, finish, is_done, plan
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.prepare.writing import write_shard

LOCAL = LocalFileSystem()


def whole_file() -> bytes:
    buffer = io.BytesIO()
    write_parquet(buffer)
    return buffer.getvalue()


WHOLE = whole_file()
SHARD = {"file": "a.parquet", "bytes": len(WHOLE)}

MANIFESTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b"\xff",
    "null": b"null",
    "a list": b"[]",
    "an object": b"{}",
    "nested beyond any reason": b"[" * 100_000,
    "no shards": json.dumps({"shards": []}).encode(),
    "shards a number": json.dumps({"shards": 7}).encode(),
    "a shard a number": json.dumps({"shards": [7]}).encode(),
    "a shard without a name": json.dumps({"shards": [{"bytes": 1}]}).encode(),
    "infinitely many bytes": json.dumps({"shards": [SHARD | {"bytes": float("inf")}]}).encode(),
    "bytes of 10^5 digits": b'{"shards": [{"file": "a.parquet", "bytes": ' + b"9" * 100_000 + b"}]}",
    "other bytes": json.dumps({"shards": [SHARD | {"bytes": 1}]}).encode(),
    "an absolute path": b"ABSOLUTE",
    "a path that leaves": json.dumps({"shards": [SHARD | {"file": "../outside.parquet"}]}).encode(),
    "a path that leaves and returns": json.dumps({"shards": [SHARD | {"file": "../data/a.parquet"}]}).encode(),
    "a NUL byte": json.dumps({"shards": [SHARD | {"file": "a.parquet\0"}]}).encode(),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_hostile_manifest_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for file in ("outside.parquet", "data/a.parquet"):
        (tmp_path / file).write_bytes(WHOLE)
    absolute = json.dumps({"shards": [SHARD | {"file": str(tmp_path / "outside.parquet")}]}).encode()
    (tmp_path / "data" / "manifest.json").write_bytes(MANIFESTS[case].replace(b"ABSOLUTE", absolute))
    with pytest.raises(SettingError, match="manifest"):
        ParquetDataset(str(tmp_path / "data"), 4)


@given(content=st.binary(max_size=100) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_manifest_are_refused(content: bytes | str, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(WHOLE)
    (tmp_path / "manifest.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match="manifest"):
        ParquetDataset(str(tmp_path), 4)


@pytest.fixture
def preparation(tmp_path: Path) -> tuple[PrepareConfig, ParquetDataset]:
    (tmp_path / "images.parquet").write_bytes(WHOLE)
    config = PrepareConfig(DatasetConfig(root=str(tmp_path / "images.parquet")), str(tmp_path / "out"), 4, "png")
    return config, ParquetDataset(config.dataset.root, 4)


PLANS = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b"\xff",
    "null": b"null",
    "a list": b"[1]",
    "an object": b"{}",
    "nested beyond any reason": b"[" * 100_000,
    "shards alone": b'{"shards": []}',
}


@pytest.mark.parametrize("case", PLANS)
def test_a_hostile_plan_is_refused(case: str, preparation: tuple[PrepareConfig, ParquetDataset]) -> None:
    config, dataset = preparation
    Path(config.out).mkdir()
    (Path(config.out) / "plan.json").write_bytes(PLANS[case])
    with pytest.raises(SettingError, match=r"out=.*: its plan\.json is"):
        begin(config, plan(config, dataset), LOCAL, config.out)


@pytest.mark.parametrize("note", [*PLANS.values(), b'{"sha256": "SHA"}', b'{"sha256": 7, "file": "../x"}'])
def test_a_shard_with_a_hostile_note_is_written_anew(
    note: bytes, preparation: tuple[PrepareConfig, ParquetDataset]
) -> None:
    config, dataset = preparation
    shards = plan(config, dataset)
    begin(config, shards, LOCAL, config.out)
    for shard in shards:
        write_shard(config, dataset, shard, LOCAL, config.out)
    file = Path(config.out) / f"{shards[0].file}.json"
    whole = json.loads(file.read_bytes())
    file.write_bytes(note.replace(b"SHA", whole["sha256"].encode()))
    assert [is_done(shard, LOCAL, config.out) for shard in shards] == [False] + [True] * (len(shards) - 1)
    write_shard(config, dataset, shards[0], LOCAL, config.out)
    assert finish(config, dataset, shards, LOCAL, config.out)["images"] == 108
