import dataclasses
from typing import Any

import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.prepare.settings import PrepareConfig, check


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("out", "", "name a folder"),
        ("image_size", 0, "at least 1"),
        ("quality", 101, "at most 100"),
        ("shard_images", 0, "at least 1"),
        ("group_images", -1, "at least 1"),
        ("format", "tiff", "one of jpeg, png"),
    ],
)
def test_values_that_cannot_work_are_refused(setting: str, value: Any, allowed: str) -> None:
    with pytest.raises(SettingError, match=allowed) as refusal:
        check(dataclasses.replace(PrepareConfig(out="shards"), **{setting: value}))
    assert refusal.value.args[:2] == (setting, value)


def test_shards_are_not_written_of_pixels_between_whole_numbers() -> None:
    with pytest.raises(SettingError, match=r"dataset.resize=authors: shards hold whole numbers of 0 to 255"):
        check(PrepareConfig(DatasetConfig(resize="authors"), out="shards"))
