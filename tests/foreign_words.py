"""Words of Python's and of libraries' making, which must not be all that an operator is told."""

import re

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_FOREIGN = re.compile(
    r"\b\w*(?:Error|Exception|Warning|NotFound)\b|\bufunc\b|dtype|numpy|astropy|fastavro|cramjam"
    r"|NoneType|codec can't|object is not|has no attribute|list index|out of range"
    r"|not supported between|unhashable|invalid literal|argument|Expecting |Extra data"
    r"|Unparsable|casting rule|while decompressing|Invalid data stream|expected str"
    r"|__index__|positional|keyword argument|Traceback|bytes-like|buffer is"
)


def foreign_words(detail: str) -> list[str]:
    """Those in a text; what it quotes may be anybody's."""
    return [match[0] for match in _FOREIGN.finditer(_QUOTED.sub("''", detail))]
