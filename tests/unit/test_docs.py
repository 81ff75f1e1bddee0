"""The README says what is: its tables are those of the code."""

from __future__ import annotations

import pytest

from tests.harness.readme import README, TABLES, render, tables


def test_readme_has_every_table() -> None:
    """Settings, errors and metrics all have their table in the README."""
    assert set(tables(README.read_text())) == set(TABLES)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_are_up_to_date(name: str) -> None:
    """A table equals what the code declares (`make docs` writes it)."""
    text = README.read_text()
    assert tables(text)[name] == tables(render(text))[name]


def test_every_make_target_that_the_readme_names_exists() -> None:
    """Whoever follows the README finds the targets it speaks of."""
    makefile = (README.parent / "Makefile").read_text()
    named = {word.split()[0] for word in README.read_text().split("`make ")[1:]}
    targets = {name.strip("`.,;:)") for name in named}
    missing = [name for name in sorted(targets) if f"\n{name}:" not in makefile]
    assert not missing


def test_no_document_is_linked_that_is_not_there() -> None:
    """Relative links in the README lead somewhere."""
    text = README.read_text()
    links = [part.split(")")[0].split("#")[0] for part in text.split("](")[1:]]
    missing = [link for link in links if link and "://" not in link and not (README.parent / link).exists()]
    assert not missing
