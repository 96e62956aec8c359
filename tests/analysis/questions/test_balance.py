import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.questions import balance
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError


def test_a_prefix_is_held_in_every_round_and_nothing_else(several_runs: dict[str, Run]) -> None:
    table = balance.analyse([several_runs["prefix"]])
    shares = table.pivot(index="client", columns="layer", values="share").to_numpy()
    assert shares.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert table["rounds"].unique().tolist() == [3]
    assert table.groupby("client")["place"].first().tolist() == [0, 1, 2]


def test_places_go_by_depth_whoever_has_it(several_runs: dict[str, Run]) -> None:
    table = balance.analyse([several_runs["permuted"]])
    assert table.drop_duplicates("client").set_index("place")["client"].to_dict() == {0: 1, 1: 2, 2: 0}
    assert (table.groupby("client")["held"].sum() == 3 * table.groupby("client")["depth"].first()).all()


def test_layers_have_their_holders_domains_and_balance(several_runs: dict[str, Run]) -> None:
    table = balance.analyse([several_runs["prefix"]])
    found = balance.layers(table)
    assert found["held"].tolist() == [9, 6, 3, 3]
    assert found["clients"].tolist() == [3, 2, 1, 1]
    assert found["entropy_clients"].tolist() == pytest.approx([1, math.log(2) / math.log(3), 0, 0])
    assert found["entropy_domains"].tolist() == pytest.approx(found["entropy_clients"].tolist())
    domains = balance.domains(table)
    assert domains[domains["layer"] == 1]["share"].tolist() == [0.5, 0.5, 0]
    assert domains[domains["layer"] == 1]["domain"].tolist() == ["dark", "light", "noisy"]


def test_holders_are_those_of_the_rounds(several_runs: dict[str, Run]) -> None:
    run = several_runs["fedra"]
    found = balance.holders([run]).pivot(index="round", columns="layer", values="holders").to_numpy()
    assert found.tolist() == np.stack(run.table("rounds")["layer_holders"]).tolist()


def test_methods_without_layers_have_no_balance(several_runs: dict[str, Run]) -> None:
    assert balance.tuning([several_runs["fedra"], several_runs["headonly"]]) == [several_runs["fedra"]]
    with pytest.raises(SettingError, match="no layer was trained"):
        balance.tuning([several_runs["headonly"]])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9).filter(any))
def test_entropy_is_a_share_of_the_largest(counts: list[int]) -> None:
    assert -1e-12 <= balance.entropy(counts) <= 1 + 1e-12
    assert balance.entropy([7] * len(counts)) == pytest.approx(1)
    assert math.isnan(balance.entropy([0] * len(counts)))


def test_every_group_of_runs_has_a_panel(several_runs: dict[str, Run]) -> None:
    runs = [several_runs[name] for name in ("fedra", "permuted", "shallow", "prefix")]
    table = balance.analyse(runs)
    heat = balance.draw(table)
    assert [axes.get_title(loc="left") for axes in heat.axes[:3]] == [
        "FedRA (4 2 1), n = 2",
        "FedRA (all 1), n = 1",
        "FedRA, draw=prefix (4 2 1), n = 1",
    ]
    assert heat.axes[0].images[0].get_array()[0].tolist() == [1, 1, 1, 1]  # depth 4, in both seeds
    holders = balance.draw_holders(balance.holders(runs)).axes[2].images[0]
    assert holders.get_array().tolist() == [[3] * 3, [2] * 3, [1] * 3, [1] * 3]
    assert [len(axes.lines) for axes in balance.draw_layers(balance.layers(table)).axes] == [3, 3, 3]
