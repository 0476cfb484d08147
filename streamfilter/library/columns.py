"""The survey's own fields that stand in a table."""

from dataclasses import dataclass
from typing import Self

from streamfilter.errors import ConfigurationInvalid
from streamfilter.records import FieldKind

_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Column:
    """A field by its name in the surveys' field maps, and whether it is handed on as a text."""

    name: str
    text: bool = False

    @classmethod
    def named(cls, words: str) -> Self:
        """Returns the column of ``name``, a number, or of ``name:text``.

        Raises
        ------
        ConfigurationInvalid
            Something else follows the colon.
        """
        name, colon, kind = words.partition(":")
        if colon and kind != _TEXT:
            raise ConfigurationInvalid(f"column {words!r}: expected NAME, or NAME:{_TEXT}")
        return cls(name, bool(colon))

    @property
    def kind(self) -> FieldKind:
        """The kind that is read: a text may be written out of any kind."""
        return FieldKind.ANY if self.text else FieldKind.NUMBER
