"""Settings from the environment: one frozen dataclass per service, read and checked in one place.

A service declares its settings as dataclass fields made with `setting`; `load` reads them. A bad value
raises `ConfigError`, whose text names the variable and what it accepts; nothing else reads the environment.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")


class ConfigError(ValueError):
    """A setting is missing or wrong; the text is one clear line for the person who set it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """Where a field comes from: the variable's name, how it is read, and what it means."""

    name: str
    parse: Callable[[str], object]
    meaning: str
    shown_default: str


def setting(
    name: str, parse: Callable[[str], T], default: str | None, meaning: str, *, shown: str | None = None
) -> T:
    """Declare a field read from the variable ``name``.

    Args:
        name: The environment variable.
        parse: Turns its text into the value; raises ValueError with what it accepts.
        default: The text used when the variable is unset or empty; None when it must be set.
        meaning: One line for the README's table.
        shown: What that table shows as the default when the text itself would mislead.
    """
    variable = Variable(name, parse, meaning, shown if shown is not None else (default or ""))
    metadata = {"variable": variable, "default": default}
    # dataclasses.field is typed as returning the default's type; here the metadata is the point.
    return dataclasses.field(metadata=metadata)  # type: ignore[no-any-return]


def variables(config: type[object]) -> list[Variable]:
    """List the variables a settings class reads, in the order of its fields."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(config)  # type: ignore[arg-type]
    return [field.metadata["variable"] for field in fields]


def load(config: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read a settings class from the environment.

    Raises:
        ConfigError: A variable is missing or has a value its field does not accept.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(config)  # type: ignore[arg-type]
    for field in fields:
        variable: Variable = field.metadata["variable"]
        text = environ.get(variable.name, "").strip() or field.metadata["default"]
        if text is None:
            raise ConfigError(f"{variable.name} must be set: {variable.meaning}")
        try:
            values[field.name] = variable.parse(text)
        except ValueError as error:
            raise ConfigError(f"{variable.name} has a value that cannot be used: {error}") from error
    try:
        return config(**values)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def integer(least: int, most: int) -> Callable[[str], int]:
    """Accept a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """Accept a decimal number from ``least`` to ``most``."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"expected a number from {least:g} to {most:g}")
        return float(text)

    return parse


def duration(least_seconds: float, most_seconds: float) -> Callable[[str], float]:
    """Accept a duration in seconds, or with a unit: ``500ms``, ``90s``, ``2m``, ``24h``, ``7d``."""

    def parse(text: str) -> float:
        match = _DURATION.fullmatch(text)
        seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else -1.0
        if match is None or not least_seconds <= seconds <= most_seconds:
            raise ValueError(
                f"expected a duration such as 90, 90s, 2m or 24h, from "
                f"{least_seconds:g} s to {most_seconds:g} s"
            )
        return seconds

    return parse


def text(pattern: str = r".+", expected: str = "some text") -> Callable[[str], str]:
    """Accept a text that matches ``pattern`` in full; ``expected`` tells people what that means."""
    compiled = re.compile(pattern)

    def parse(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return parse


def optional_text(value: str) -> str:
    """Accept anything, also nothing."""
    return value


def choice(*options: str) -> Callable[[str], str]:
    """Accept one of a few words."""

    def parse(value: str) -> str:
        if value not in options:
            raise ValueError(f"expected one of {', '.join(options)}")
        return value

    return parse


def flag(value: str) -> bool:
    """Accept true or false."""
    if value not in {"true", "false"}:
        raise ValueError("expected true or false")
    return value == "true"


_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.\-]+)(:\d{1,5})?")


def origins(value: str) -> frozenset[str]:
    """Accept origins separated by commas: ``https://chat.example.org,http://localhost:8080``."""
    found = [origin.strip().rstrip("/") for origin in value.split(",") if origin.strip()]
    for origin in found:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError("expected origins such as https://chat.example.org, separated by commas")
    return frozenset(found)


def tokens(value: str) -> tuple[str, ...]:
    """Accept one or two service tokens of 16 to 256 characters, separated by a comma: new, old."""
    found = tuple(token.strip() for token in value.split(",") if token.strip())
    if not 1 <= len(found) <= 2 or not all(
        re.fullmatch(r"[\x21-\x2b\x2d-\x7e]{16,256}", token) for token in found
    ):
        raise ValueError("expected one or two tokens of 16 to 256 visible characters, separated by a comma")
    return found


def optional_tokens(value: str) -> tuple[str, ...]:
    """Accept what `tokens` does, or nothing."""
    return tokens(value) if value else ()


def port(value: str) -> int:
    """Accept a TCP port, 0 for any free one."""
    return integer(0, 65535)(value)


LOG_LEVELS: Final = ("debug", "info", "warning", "error")
