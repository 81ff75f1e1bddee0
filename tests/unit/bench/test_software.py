"""A report says what was measured on."""

from __future__ import annotations

import pytest

from tests.bench.software import how_built, redis_version, software


def test_everything_that_runs_the_systems_is_named() -> None:
    """Python, Redis and Node each come with a version."""
    used = software()
    assert list(used) == ["python", "redis", "node"]
    assert all(any(letter.isdigit() for letter in version) for version in used.values())


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (
            "'--prefix=/usr' '--enable-optimizations' '--with-lto' 'CC=gcc'",
            "--enable-optimizations --with-lto",
        ),
        ("'--with-lto=full' '--enable-optimizations'", "--enable-optimizations"),
        ("'--prefix=/usr'", "not configured with --enable-optimizations"),
        ("", "not configured with --enable-optimizations"),
    ],
)
def test_a_python_without_optimizations_is_told(configured: str, expected: str) -> None:
    """Who compares figures sees which build they come from."""
    assert how_built(configured) == expected


def test_the_allocator_of_redis_is_told() -> None:
    """It makes a quarter of the CPU that Redis uses for a message."""
    text = "Valkey server v=8.1.1 sha=00000000:1 malloc=jemalloc-5.3.0 bits=64 build=25d323bc7eab6081\n"
    assert redis_version(text) == "Valkey 8.1.1 jemalloc-5.3.0"
    assert redis_version("something else\n") == "something else"
