"""One packet, and what the filter says of it."""

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfilter import pages
from streamfilter.alerts import figures
from streamfilter.alerts.encode import Agreement, agreement
from streamfilter.alerts.maps import Mask, Posteriors, StampMaps, stamp_maps
from streamfilter.alerts.pipeline import Pipeline, Prepared
from streamfilter.errors import (
    ConfigurationInvalid,
    EngineUnavailable,
    MessageRejected,
    printable,
)
from streamfilter.reading import read
from streamfilter.records import Alert, Annotation, Plane, Rejected, StampEvidence, Verdict
from streamfilter.service.assembly.alerts import Parts

REJECTED = "rejected"
_DPI = 110


class Open:
    """The parts of a filter, until it is closed."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Parts | None = parts

    @property
    def parts(self) -> Parts:
        """The parts.

        Raises
        ------
        EngineUnavailable
            The filter is closed.
        """
        if self._parts is None:
            raise EngineUnavailable(
                "this filter is closed, and its network with it: judge, and take masks and "
                "pictures, before the end of its `with`, or make another Filter"
            )
        return self._parts

    def close(self) -> None:
        """Release all networks; a second call does nothing."""
        if self._parts is not None:
            for each in self._parts.engines:
                each.close()
            self._parts = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One packet, and what the filter says of it.

    The evidence is there at once. Maps, masks and pictures are made when they are asked for, by
    the filter, which must not be closed.
    """

    source: str
    """The file, or ``archive:member``; ``memory`` or ``arrays`` for what was given as values."""
    index: int
    """Number of the packet in its source, from 0."""
    rejected: Rejected | None
    """Why the packet cannot be used (``reason``, ``detail``); None where it was judged."""
    _pair: tuple[Prepared, Annotation] | None = field(repr=False)
    _pipeline: Pipeline = field(repr=False)
    _open: Open = field(repr=False)

    @property
    def label(self) -> str:
        """``clean``, ``contaminated``, ``suspect``, ``not_evaluated`` or ``rejected``."""
        return REJECTED if self.rejected is not None else self.verdict.label.value

    @property
    def verdict(self) -> Verdict:
        """Label, action, class and rule.

        Raises
        ------
        MessageRejected
            The packet cannot be used; ``rejected`` tells before.
        """
        return self.annotation.verdict

    @property
    def annotation(self) -> Annotation:
        """All that is published of the alert, as values; raises as ``verdict`` does."""
        return self._whole()[1]

    @property
    def alert(self) -> Alert:
        """The alert with all its readable stamps, as float32 arrays (height, width).

        Raises as ``verdict`` does.
        """
        return self._pipeline.with_all_stamps(self.annotation.alert)

    @property
    def survey(self) -> str:
        """Name of the survey; raises as ``verdict`` does."""
        return self.annotation.alert.survey

    @property
    def alert_id(self) -> str:
        """The survey's own name of the alert; raises as ``verdict`` does."""
        return self.annotation.alert.alert_id

    @property
    def object_id(self) -> str | None:
        """The survey's name of the object; None where it has none; raises as ``verdict`` does."""
        return self.annotation.alert.object_id

    @property
    def agreement(self) -> Agreement:
        """How the verdict agrees with the survey's own flags; raises as ``verdict`` does."""
        alert = self.annotation.alert
        return agreement(self.verdict, alert.flagged, alert.flaggable)

    @property
    def science(self) -> StampEvidence:
        """Evidence of the science stamp, by class code: ``judged.science["CR"].core``.

        Raises
        ------
        MessageRejected
            The packet cannot be used.
        LookupError
            The filter does not judge this plane.
        """
        return self.evidence("science")

    @property
    def template(self) -> StampEvidence:
        """Evidence of the template stamp; raises as ``science`` does."""
        return self.evidence("template")

    @property
    def difference(self) -> StampEvidence:
        """Evidence of the difference stamp; raises as ``science`` does."""
        return self.evidence("difference")

    def evidence(self, plane: str) -> StampEvidence:
        """Returns the first network's evidence of a plane's stamp; raises as ``science`` does.

        What further networks say of it stands in its ``also``, by their names.
        """
        for stamp in self.annotation.stamps:
            if stamp.plane == plane:
                return stamp
        there = ", ".join(stamp.plane for stamp in self.annotation.stamps) or "none"
        raise LookupError(
            f"no evidence of the plane {plane!r}; there is of {there}: "
            'Filter(planes=["science", ...]) judges others'
        )

    def posteriors(self, plane: str = "science") -> Mapping[str, Posteriors]:
        """Returns maps of the stamp's probabilities under the priors, by class code.

        Where several networks judge, they are the first one's (``engine.name``).

        Returns
        -------
        mapping
            float64 arrays (height, width) in [0, 1]; empty where the stamp was not evaluated.

        Raises
        ------
        MessageRejected, LookupError
            As ``science`` does.
        EngineUnavailable
            The filter is closed.
        """
        maps = self._maps(plane)
        return MappingProxyType({} if maps is None else maps.posteriors)

    def masks(self, plane: str = "science") -> Mapping[str, Mask]:
        """Returns masks of the stamp by class code: ``judged.masks("science")["CR"]``.

        Where several networks judge, they are the first one's (``engine.name``).

        Returns
        -------
        mapping
            Boolean arrays (height, width), True where the posterior is above the class's threshold
            and the pixel has data: as many as ``evidence(plane)[code].pixels``. Empty where the
            stamp was not evaluated.

        Raises
        ------
        MessageRejected, LookupError, EngineUnavailable
            As ``posteriors`` does.
        """
        maps = self._maps(plane)
        return MappingProxyType({} if maps is None else maps.masks)

    def stamp(self, plane: str = "science") -> npt.NDArray[np.float32] | None:
        """Returns a stamp (height, width) in the survey's unit, NaN where there are no data.

        None where the packet has none that can be read; raises as ``verdict`` does.
        """
        stamp = self.alert.stamps.get(Plane(plane))
        return None if stamp is None else stamp.image

    def record(self) -> dict[str, Any]:
        """Returns the record that ``streamfilter run`` would publish, as ``read`` gives it.

        The times are those of this call, and the place is ``source`` and ``index``. Raises as
        ``verdict`` does.
        """
        return read(self._open.parts.encoder.annotation(self.annotation, ""))

    def png(self) -> bytes:
        """Returns a picture of stamps, masks and verdict.

        Raises
        ------
        MessageRejected
            The packet cannot be used.
        ConfigurationInvalid
            matplotlib is not installed (the extra ``figures``).
        EngineUnavailable
            The filter is closed.
        """
        prepared, annotation = self._whole()
        parts = self._open.parts
        row = figures.inspect_alert(self._pipeline, parts.engine, prepared, annotation)
        return pages.png(figures.page([row]), _DPI)

    def show(self, path: str | Path | None = None) -> None:
        """Show the picture in a notebook, or write it to a PNG file; raises as ``png`` does.

        Outside of a notebook, without a path, the verdict is printed in words.
        """
        if path is not None:
            Path(path).write_bytes(self.png())
        elif (shell := _notebook()) is not None:
            shell(self)
        else:
            print(self)

    def _whole(self) -> tuple[Prepared, Annotation]:
        if self._pair is None:
            assert self.rejected is not None
            raise MessageRejected(self.rejected.reason, f"{self.source}: {self.rejected.detail}")
        return self._pair

    def _maps(self, plane: str) -> StampMaps | None:
        self.evidence(plane)
        return stamp_maps(self._open.parts.engine, self._whole()[0], Plane(plane))

    def __repr__(self) -> str:
        """Returns the verdict in words, on one line."""
        if self.rejected is not None:
            words = f"{self.rejected.reason}: {self.rejected.detail}"
            return f"<{printable(self.source)}[{self.index}]: rejected, {words}>"
        verdict = self.verdict
        why = f" ({verdict.contaminant}, rule {verdict.rule})" if verdict.contaminant else ""
        return f"<{self.survey} {printable(self.alert_id)}: {verdict.label}{why}>"

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the picture, or words where there is none, and why."""
        words = html.escape(repr(self)[1:-1])
        if self.rejected is not None:
            return f"<p>{words}</p>"
        try:
            data = base64.b64encode(self.png()).decode()
        except (ConfigurationInvalid, EngineUnavailable) as error:
            return f"<p>{words}</p><p>no picture: {html.escape(str(error))}</p>"
        return f'<img alt="{words}" src="data:image/png;base64,{data}">'


def _notebook() -> Any:
    """Returns what displays a value in the notebook that this runs in; None elsewhere."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    return None if get_ipython() is None else display
