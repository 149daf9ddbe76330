"""The generated pages of the guide are what the protocol files say today."""

from __future__ import annotations

from pathlib import Path

import pytest

from oppcache.consistency import load_protocol, protocol_names
from oppcache.consistency.pages import protocol_page, zoo

MAKE = "python -m oppcache.consistency.pages docs"


@pytest.mark.parametrize("name", protocol_names())
def test_a_protocols_page_is_made_from_its_file(checkout: Path, name: str) -> None:
    committed = (checkout / "docs" / "protocols" / f"{name}.md").read_text(encoding="utf-8")
    assert committed == protocol_page(load_protocol(name)), MAKE


def test_every_protocol_is_listed_with_its_idea(checkout: Path) -> None:
    text = (checkout / "docs" / "protocols.md").read_text(encoding="utf-8")
    for name in protocol_names():
        protocol = load_protocol(name)
        assert f"| [`{name}`](protocols/{name}.md) | {protocol.idea} | {protocol.gives_up} |" in text
    pages = {path.stem for path in (checkout / "docs" / "protocols").glob("*.md")}
    assert pages == set(protocol_names())


def test_the_zoo_shows_what_the_checker_finds(checkout: Path, tmp_path: Path) -> None:
    committed = (checkout / "docs" / "anomaly-zoo.md").read_text(encoding="utf-8")
    assert committed == zoo(tmp_path), MAKE
    for drawing in sorted(tmp_path.glob("*.svg")):
        kept = checkout / "docs" / "figures" / "zoo" / drawing.name
        assert kept.read_text(encoding="utf-8") == drawing.read_text(encoding="utf-8"), MAKE
