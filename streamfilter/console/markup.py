"""HTML and SVG that cannot be broken out of: every text is escaped unless it was made here."""

from html import escape

from streamfilter.redaction import clean


class Markup(str):
    """Text that is markup; made by ``tag`` and ``joined`` alone."""

    __slots__ = ()


Child = str | int | None
"""Of an element: markup as it is, a text or number escaped, nothing for None."""

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Returns an element.

    Parameters
    ----------
    name
        Of the element; never from outside.
    children
        A ``Markup`` stays as it is; everything else is escaped, and holds no secret.
    attributes
        ``class_`` is ``class``, other underscores become hyphens. None and False leave an attribute
        out, True gives it no value. Values are escaped; addresses must be checked by who gives
        them.
    """
    given = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Returns children one after the other."""
    return Markup("".join(each if isinstance(each, Markup) else _text(each) for each in children))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _text(value: str | int | float | None) -> str:
    return "" if value is None else escape(clean(str(value)), quote=True)
