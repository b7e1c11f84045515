"""The Sankey diagram: widths are energy, flows go from left to right, and a circle runs back by its smallest flow."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.sankey import HEIGHT, WIDTH, Drawing, drawn


def link(source: str, target: str, tce: float | None) -> dict[str, Any]:
    return {"source_kind": "carrier", "source": source, "target_kind": "carrier", "target": target, "calorific_tce": tce}


def lay_out(*links: dict[str, Any]) -> Drawing:
    found = drawn(links, lambda _kind, name: name)
    assert found is not None
    return found


def test_a_flow_is_as_thick_as_its_energy_and_a_node_as_high_as_what_it_gets_or_gives() -> None:
    found = lay_out(link("coal", "boiler", 300.0), link("coal", "kiln", 100.0), link("boiler", "heat", 200.0))
    thick = {ribbon.title: ribbon.thickness for ribbon in found.ribbons}
    assert thick["coal → boiler"] == pytest.approx(3 * thick["coal → kiln"])
    boxes = {box.label: box for box in found.boxes}
    assert boxes["coal"].height == pytest.approx(thick["coal → boiler"] + thick["coal → kiln"])
    assert boxes["boiler"].height == pytest.approx(thick["coal → boiler"])
    assert boxes["coal"].x < boxes["boiler"].x < boxes["heat"].x == boxes["kiln"].x


def test_where_energy_goes_in_a_circle_its_smallest_flow_runs_back() -> None:
    found = lay_out(link("coal", "turbine", 100.0), link("turbine", "power", 40.0), link("power", "turbine", 5.0), link("power", "mill", 35.0))
    x = {box.label: box.x for box in found.boxes}
    assert x["coal"] < x["turbine"] < x["power"] < x["mill"]


@pytest.mark.parametrize("links", [[], [link("a", "b", None)], [link("a", "b", 0.0)]])
def test_where_nothing_flows_nothing_is_drawn(links: list[dict[str, Any]]) -> None:
    assert drawn(links, lambda _kind, name: name) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("cdefgh"), st.floats(0.1, 1e6)), min_size=1, max_size=15))
def test_everything_lies_within_the_picture_and_boxes_of_a_column_do_not_touch(flows: list[tuple[str, str, float]]) -> None:
    found = lay_out(*(link(*flow) for flow in flows))
    assert sum(ribbon.value for ribbon in found.ribbons) == pytest.approx(sum(value for *_, value in flows))
    columns: dict[float, list[tuple[float, float]]] = {}
    for box in found.boxes:
        assert 0 <= box.x <= WIDTH
        assert -1 <= box.y <= box.y + box.height <= HEIGHT + 2
        columns.setdefault(box.x, []).append((box.y, box.y + box.height))
    for spans in columns.values():
        ordered = sorted(spans)
        assert all(end < begin for (_, end), (begin, _) in pairwise(ordered))
