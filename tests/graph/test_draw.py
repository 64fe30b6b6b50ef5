"""The files that are drawn: well formed, self-contained, the same in every run."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.graphs import convolution
from tvm_equi.errors import ArgumentError, UnsupportedError
from tvm_equi.graph import DEFAULT_PIPELINE
from tvm_equi.graph import draw as draw_module
from tvm_equi.graph.draw import couplings, draw

pytest.importorskip("matplotlib")


def test_svg(tmp_path: Path) -> None:
    graph = DEFAULT_PIPELINE(convolution())
    first = draw(graph, tmp_path / "a.svg").read_text()
    assert first == draw(graph, tmp_path / "b.svg").read_text()
    root = ElementTree.fromstring(first)
    ids = [item.attrib["id"] for item in root.iter() if "id" in item.attrib]
    assert len(ids) == len(set(ids))
    known = {f"#{name}" for name in ids}
    hrefs = {value for item in root.iter() for key, value in item.attrib.items() if "href" in key}
    assert hrefs <= known  # nothing is fetched from elsewhere
    assert root.tag.endswith("svg")
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 3


def test_html(tmp_path: Path) -> None:
    graph = DEFAULT_PIPELINE(convolution())
    text = draw(graph, tmp_path / "a.html").read_text()
    assert text.count("<svg") == text.count("</svg>") == 2
    for node in graph.nodes:
        assert f"<td>{node.name}</td>" in text
    assert "(C Y)" in text or "C x Y" in text  # the order of contraction of the convolution
    assert "<script" not in text
    assert 'src="' not in text


def test_couplings_are_those_of_the_paths() -> None:
    found = couplings(DEFAULT_PIPELINE(convolution()))
    assert found == {(0, 0, 0): 1, (1, 1, 0): 1}
    assert couplings(convolution()) == {
        (0, 0, 0): 1,
        (0, 1, 1): 1,
        (1, 0, 1): 1,
        (1, 1, 0): 1,
    }


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"expected a name that ends in .html or .svg, got"):
        draw(convolution(), tmp_path / "a.png")
    monkeypatch.setattr(draw_module, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="expected matplotlib, got none; install it with"):
        draw(convolution(), tmp_path / "a.svg")
