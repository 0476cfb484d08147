"""Pictures of an alert's stamps, and outlines of the masks, from its packet and the network."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.maps import Mask
from streamfilter.alerts.pipeline import Pipeline
from streamfilter.alerts.stamp_views import (
    COLOURS,
    DARKEST,
    Stretched,
    edges,
    masks_of,
    posteriors_of,
    stretched,
)
from streamfilter.alerts.surveys import Page, RuleField
from streamfilter.console.cards import Card, Facts
from streamfilter.console.png import grey_png
from streamfilter.inference.engine import Engine
from streamfilter.records import Alert, ClassPrior, FieldValue, Message, Plane, Rejected


@dataclass(frozen=True, slots=True)
class Picture:
    """The stamps of an alert, drawn."""

    planes: Mapping[str, bytes]
    """PNG files by plane; a plane that was not sent, or cannot be read, is absent."""
    shapes: Mapping[str, tuple[int, int]]
    """Height and width of each, in pixels."""
    outlines: Mapping[str, bytes]
    """SVG files with the outline of each class's mask, as large as the science stamp."""
    pixels: Mapping[str, int]
    """Number of pixels of each mask."""
    note: str
    """What a reader must know, such as that another network drew the masks; empty: nothing."""
    facts: Facts


# Of scale bars, in arcseconds or pixels.
_LENGTHS = tuple(step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5))


class Unreadable(Exception):
    """The alert's packet cannot be shown; the message says why."""


class Painter:
    """Draws alerts; for one thread.

    Parameters
    ----------
    decoder
        Opens packets.
    pipeline, engine
        Judge them, as the settings say.
    pages
        By survey, what its field map says about pages.
    """

    def __init__(
        self, decoder: Decoder, pipeline: Pipeline, engine: Engine, pages: Mapping[str, Page]
    ) -> None:
        self._decoder = decoder
        self._pipeline = pipeline
        self._engine = engine
        self._pages = pages
        self._fields = frozenset(
            RuleField(survey, name, kind)
            for survey, page in pages.items()
            for name, kind in page.named().items()
        )

    def facts(self, message: Message) -> Facts:
        """Returns what an alert's packet says, without its stamps.

        Raises
        ------
        Unreadable, SchemaUnavailable
        """
        alert = self._decoder.decode(message, (), self._fields)
        if isinstance(alert, Rejected):
            raise Unreadable(f"the alert cannot be read again: {alert.reason}: {alert.detail}")
        return facts_of(alert.fields, self._pages[alert.survey])

    def picture(self, card: Card, message: Message) -> Picture:
        """Returns the stamps and masks of an alert.

        Masks use the priors and thresholds of the annotation, and the engine of the settings.

        Raises
        ------
        Unreadable, SchemaUnavailable
        """
        alert = self._decoder.decode(message, tuple(Plane), self._fields)
        if isinstance(alert, Rejected):
            raise Unreadable(f"the alert cannot be read again: {alert.reason}: {alert.detail}")
        if alert.alert_id != card.alert_id:
            raise Unreadable(f"another alert stands at its place now: {alert.alert_id}")
        planes, shapes = _planes(alert)
        masks, note = self._masks(card, alert)
        height, width = shapes.get(Plane.SCIENCE, (1, 1))
        return Picture(
            planes=planes,
            shapes=shapes,
            outlines={code: _outline(mask, code, height, width) for code, mask in masks},
            pixels={code: int(mask.sum()) for code, mask in masks},
            note=note,
            facts=facts_of(alert.fields, self._pages[alert.survey]),
        )

    def _masks(self, card: Card, alert: Alert) -> tuple[list[tuple[str, Mask]], str]:
        science, network = alert.stamps.get(Plane.SCIENCE), self._engine.manifest
        if science is None:
            return [], ""
        note = ""
        if card.sha256 != network.onnx_sha256:
            note = f"masks by {network.name}; the verdict is of {card.engine}"
        priors = [
            ClassPrior(row.code, card.priors[row.code], card.thresholds.get(row.code, 1.0))
            for row in network.classes
            if row.code in card.priors
        ]
        if len(priors) < len(network.classes):
            return [], f"no masks: {network.name} has classes without a prior in the annotation"
        posteriors = posteriors_of(self._engine, self._pipeline.prepare(alert).items, priors)
        if posteriors is None:
            return [], "no masks: the science stamp was not evaluated"
        return masks_of(science.image, posteriors, card.thresholds), note


def facts_of(fields: Mapping[str, FieldValue], page: Page) -> Facts:
    """Returns what a page shows of an alert's own numbers."""
    score_name = next((name for name in page.scores if name in fields), "")
    score = float(fields[score_name]) if score_name else None
    found = _text(fields.get(page.filter))
    return Facts(
        score=score,
        score_name=score_name,
        detector=_text(fields.get(page.detector)),
        filter=page.filters.get(found, found),
    )


def _text(value: FieldValue | None) -> str:
    if value is None:
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _planes(alert: Alert) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
    """PNG files and shapes; all planes are drawn up to the value that is white in the science."""
    views = {plane: stretched(stamp.image) for plane, stamp in alert.stamps.items()}
    drawn = {plane: view for plane, view in views.items() if view is not None}
    if not drawn:
        return {}, {}
    _, brightest = drawn.get(Plane.SCIENCE) or next(iter(drawn.values()))
    pngs = {str(plane): _png(values, brightest) for plane, (values, _) in drawn.items()}
    shapes = {str(p): (int(v.shape[0]), int(v.shape[1])) for p, (v, _) in drawn.items()}
    return pngs, shapes


def _png(values: Stretched, brightest: float) -> bytes:
    opaque = ~np.isnan(values)
    share = (np.where(opaque, values, DARKEST) - DARKEST) / (brightest - DARKEST)
    grey = (np.clip(share, 0, 1) * 255).round().astype(np.uint8)
    # Rows of FITS count upwards, those of pictures downwards.
    return grey_png(grey[::-1], opaque[::-1])


def _outline(mask: Mask, code: str, height: int, width: int) -> bytes:
    """An SVG with the sides of the mask's pixels, dark below so that it stands out on white."""
    lines = [f"M{x0} {height - y0}L{x1} {height - y1}" for (x0, y0), (x1, y1) in edges(mask)]
    path = f'<path d="{"".join(lines)}" fill="none" vector-effect="non-scaling-stroke"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none">'
        f'{path} stroke="#000000" stroke-width="4" stroke-linecap="square"/>'
        f'{path} stroke="{COLOURS[code]}" stroke-width="2" stroke-linecap="square"/></svg>'
    ).encode()


def scale_svg(picture: Picture, arcsec_per_px: float | None) -> bytes:
    """Returns a bar of a round length, about a third of the science stamp, and that length.

    Without a scale the length is in pixels. Empty where there is no stamp.
    """
    if Plane.SCIENCE not in picture.shapes:
        return b""
    width_px = picture.shapes[Plane.SCIENCE][1]
    width = width_px * (arcsec_per_px or 1.0)
    length = max(step for step in _LENGTHS if step <= width / 3)
    words = f"{length:g}″" if arcsec_per_px else f"{length:g} px"
    end = 4 + 100 * length / width
    bar = f'd="M4 95H{end:.2f}" fill="none"'
    text = f'x="4" y="90" font-family="sans-serif" font-size="9">{words}</text>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
        f'<path {bar} stroke="#000" stroke-width="4"/><path {bar} stroke="#fff" stroke-width="2"/>'
        f'<text fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke" {text}</svg>'
    ).encode()
