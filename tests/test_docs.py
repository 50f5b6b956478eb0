"""What the documents promise about themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECISIONS = ROOT / "docs" / "decisions"
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def test_the_index_lists_every_decision_with_its_title_status_and_date() -> None:
    rows = re.findall(
        r"^\| \[(\d{4}\. .+?)\]\((.+?)\) \| (.+?) \| (.+?) \|$", (DECISIONS / "README.md").read_text(), re.MULTILINE
    )
    assert [file for _, file, _, _ in rows] == [path.name for path in sorted(DECISIONS.glob("[0-9]*.md"))]
    for title, file, status, date in rows:
        head, _, second, *_ = (DECISIONS / file).read_text().splitlines()
        assert re.fullmatch(r"accepted|withdrawn|superseded by \d{4}", status)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
        assert second == f"Status: {status}, {date}"
        number, _, words = title.partition(". ")
        assert head == f"# {int(number)}. {words}"
        assert file.startswith(number)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []
