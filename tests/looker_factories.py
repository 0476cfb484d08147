"""A looker at messages of exposures, with an engine that is never sure."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from astropy.io import fits
from constant_engine import Constant

from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.frames import FrameRules
from streamfilter.exposures.references import References
from streamfilter.exposures.watcher import Watcher
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder, SchemaKey
from streamfilter.schemas.published import PublishedSource
from streamfilter.service.exposures.looker import Looker
from streamfilter.service.schemas_awaited import SchemasAwaited


def make_looker(
    engine: Any = None,
    ready: Callable[[SchemaKey | None], bool] = lambda key: True,
    rules: FrameRules | None = None,
    references: References | None = None,
    **more: Any,
) -> Looker:
    """A looker at messages; its parts can be replaced."""
    finder = SchemaFinder([PublishedSource()], Limits())
    watcher = Watcher(engine or Constant())
    decoder = ExposureDecoder(finder)
    return Looker(
        decoder=decoder,
        watcher=watcher,
        rules=rules or FrameRules(max_bytes=10**7),
        references=references or References({}, 10**7),
        awaited=cast("SchemasAwaited", SimpleNamespace(ready=ready)),
        **more,
    )


def sky(*names: str, side: int = 400) -> bytes:
    """A FITS file with a detector of each name."""
    rng = np.random.default_rng(1)
    pixels = [rng.normal(100, 3, (side, side)).astype(np.float32) for _ in names]
    images = [fits.ImageHDU(p, name=name) for p, name in zip(pixels, names, strict=True)]
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(out)
    return out.getvalue()
