"""The pages' addresses and what answers there; Starlette is imported here alone."""

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from streamfilter.console import exposure_views, page_views, rate_views
from streamfilter.console.card_views import said_html
from streamfilter.console.darkroom import Busy
from streamfilter.console.events import Follower, Onlookers
from streamfilter.console.guard import PERSON, SESSION
from streamfilter.console.label_rows import json_lines
from streamfilter.console.labels import LONGEST_NAME, Answer, Label, label_of
from streamfilter.console.pictures import Picture, Unreadable, scale_svg
from streamfilter.console.ring import Choice, Entry
from streamfilter.console.site import Site, address_of_card
from streamfilter.console.visits import Visit
from streamfilter.errors import StreamfilterError, how_to_install, printable
from streamfilter.metrics.exposition import WithoutCreated
from streamfilter.records import Origin
from streamfilter.redaction import clean

_MOST_BODY = 8192  # bytes of a form
_PICTURE_S = 20.0
_FETCHES = 2  # cards that are read from their topic at a time
_STATIC = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
_YEAR_S = 365 * 86_400
_LAST_OFFSET = 2**63 - 1

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: the name that was given (empty: none) and the text that forms repeat."""

    person: str
    token: str
    new: bool
    """Whether the browser has no such text yet."""


class Pages:
    """Answers requests.

    Parameters
    ----------
    secure
        Whether the page is reached by https, so that cookies may say so.
    """

    def __init__(self, site: Site, registry: CollectorRegistry, *, secure: bool) -> None:
        self._site = site
        self._registry = registry
        self._secure = secure
        self._fetching = asyncio.Semaphore(_FETCHES)
        self._drawing = asyncio.Semaphore(1)
        self.onlookers = Onlookers(site.metrics)

    def application(self) -> Starlette:
        """Returns the application, without what guards it."""
        card = "/card/{topic}/{partition:int}/{offset:int}"
        get: list[tuple[str, Handler]] = [
            ("/", self._live),
            ("/review", self._review),
            ("/wall", self._wall),
            ("/rates", self._rates),
            ("/exposures", self._exposures),
            ("/exposures/{instrument}/{exposure_id:path}", self._exposure),
            ("/masks/{instrument}/{exposure_id:path}", self._frame_mask),
            ("/labels", self._labels),
            ("/labels.jsonl", self._label_lines),
            ("/labels.parquet", self._label_table),
            (card, self._card),
            (f"{card}/{{name}}", self._file),
            ("/events", self._events),
            ("/static/{name}", self._static),
            ("/metrics", self._metrics),
            ("/healthz", self._healthz),
        ]
        post: list[tuple[str, Handler]] = [
            ("/labels", self._say),
            ("/labels/undo", self._undo),
            ("/person", self._name),
        ]
        routes = [Route(path, handler, methods=["GET"]) for path, handler in get]
        routes += [Route(path, handler, methods=["POST"]) for path, handler in post]
        return Starlette(routes=routes)

    # Pages

    async def _live(self, request: Request) -> Response:
        visitor = _visitor(request)
        before = _whole(request.query_params.get("before", ""))
        choice = choice_of(request)
        page = page_views.live_page(
            self._site, choice, before=before, person=visitor.person, token=visitor.token
        )
        return self._html(page, visitor)

    async def _review(self, request: Request) -> Response:
        visitor = _visitor(request)
        page = page_views.review_page(
            self._site, choice_of(request), person=visitor.person, token=visitor.token
        )
        return self._html(page, visitor)

    async def _wall(self, request: Request) -> Response:
        visitor = _visitor(request)
        return self._html(page_views.wall_page(self._site, token=visitor.token), visitor)

    async def _rates(self, request: Request) -> Response:
        visitor = _visitor(request)
        page = rate_views.rates_page(self._site, person=visitor.person, token=visitor.token)
        return self._html(page, visitor)

    async def _exposures(self, request: Request) -> Response:
        visitor = _visitor(request)
        page = exposure_views.exposures_page(
            self._site, _coloured_by(request), person=visitor.person, token=visitor.token
        )
        return self._html(page, visitor)

    async def _exposure(self, request: Request) -> Response:
        visitor = _visitor(request)
        visit = self._visit(request)
        if visit is None:
            words = "No such exposure is held: the newest 200 are."
            return self._nothing("No such exposure", words, visitor)
        named = {"person": visitor.person, "token": visitor.token}
        if "detector" not in request.query_params:
            by = _coloured_by(request)
            return self._html(exposure_views.exposure_page(self._site, visit, by, **named), visitor)
        detector = visit.detectors.get(request.query_params["detector"])
        if detector is None:
            return self._nothing("No such detector", "No such detector is known of it.", visitor)
        page = exposure_views.detector_page(self._site, visit, detector, **named)
        return self._html(page, visitor)

    async def _frame_mask(self, request: Request) -> Response:
        """A picture of the mask of a detector's frame."""
        visit = self._visit(request)
        detector = visit and visit.detectors.get(request.query_params.get("detector", ""))
        if not detector or not detector.mask:
            return PlainTextResponse("no such mask\n", 404)
        if self._drawing.locked():
            words = "another mask is being drawn: come again"
            return PlainTextResponse(f"{words}\n", 503, {"Retry-After": "2"})
        async with self._drawing:
            try:
                content = await asyncio.to_thread(self._site.masks.png, detector.mask)
            except Unreadable as error:
                return PlainTextResponse(f"{_words(error)}\n", 404)
        return Response(content, 200, {"Cache-Control": "private, max-age=3600"}, "image/png")

    def _visit(self, request: Request) -> Visit | None:
        named = request.path_params
        return self._site.visits.at(named["instrument"], named["exposure_id"])

    async def _labels(self, request: Request) -> Response:
        visitor = _visitor(request)
        page = page_views.labels_page(self._site, person=visitor.person, token=visitor.token)
        return self._html(page, visitor)

    async def _label_lines(self, request: Request) -> Response:
        return Response(json_lines(self._site.book.all()), media_type="application/x-ndjson")

    async def _label_table(self, request: Request) -> Response:
        try:
            from streamfilter.console.label_table import parquet
        except ImportError:
            words = f"a Parquet file needs pyarrow here: {how_to_install('archive')}"
            return PlainTextResponse(f"{words}\n", 404)
        content = await asyncio.to_thread(parquet, self._site.book.all())
        return Response(content, media_type="application/vnd.apache.parquet")

    async def _card(self, request: Request) -> Response:
        visitor = _visitor(request)
        entry = await self._entry(_place(request))
        if isinstance(entry, str):
            return self._nothing("No such card", entry, visitor)
        page = page_views.card_page(self._site, entry, person=visitor.person, token=visitor.token)
        return self._html(page, visitor)

    # Parts of pages

    async def _file(self, request: Request) -> Response:
        """A stamp, an outline or a scale bar."""
        entry = await self._entry(_place(request))
        if isinstance(entry, str):
            return PlainTextResponse(f"{entry}\n", 404)
        name = request.path_params["name"]
        pictures = self._site.metrics.pictures
        try:
            drawing = asyncio.wrap_future(self._site.darkroom.picture(entry.card))
            picture = await asyncio.wait_for(asyncio.shield(drawing), _PICTURE_S)
        except (Busy, TimeoutError):
            pictures.labels("busy").inc()
            words = "too many pictures are asked for: come again"
            return PlainTextResponse(f"{words}\n", 503, {"Retry-After": "2"})
        except (Unreadable, StreamfilterError) as error:
            pictures.labels("unreadable").inc()
            return PlainTextResponse(f"{_words(error)}\n", 404)
        pictures.labels("drawn").inc()
        arcsec = self._site.page_of(entry.card.survey).arcsec_per_px
        content, kind = _part(picture, name, arcsec)
        if not content:
            return PlainTextResponse("the alert has no such stamp or mask\n", 404)
        kept = {"Cache-Control": "private, max-age=3600, immutable"}
        return Response(content, 200, kept, kind)

    async def _events(self, request: Request) -> Response:
        visitor = _visitor(request)
        host = request.client.host if request.client else ""
        if not self.onlookers.enter(host):
            self._site.metrics.refused.labels("crowded").inc()
            return PlainTextResponse("too many pages are open\n", 503, {"Retry-After": "10"})
        follower = Follower(
            self._site,
            choice_of(request),
            kind=request.query_params.get("kind", ""),
            after=request.headers.get("last-event-id", request.query_params.get("after", "")),
            person=visitor.person,
            token=visitor.token,
        )

        async def stream() -> AsyncIterator[str]:
            try:
                async for event in follower.events():
                    yield event
            finally:
                self.onlookers.leave(host)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream(), 200, headers, "text/event-stream")

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return PlainTextResponse("no such file\n", 404)
        content = (Path(__file__).parent / "static" / name).read_bytes()
        return Response(content, 200, {"Cache-Control": "no-cache"}, _STATIC[name])

    async def _metrics(self, request: Request) -> Response:
        state = self._site.feed_state()
        self._site.metrics.behind.set(state.behind)
        shown = cast("CollectorRegistry", WithoutCreated(self._registry))
        return Response(generate_latest(shown), media_type="text/plain; version=0.0.4")

    async def _healthz(self, request: Request) -> Response:
        trouble = self._site.feed_state().trouble
        return PlainTextResponse(f"{clean(trouble) or 'ok'}\n", 503 if trouble else 200)

    # What people say

    async def _say(self, request: Request) -> Response:
        """Take a label; answers with who said what, or goes back to the page."""
        visitor, form = _visitor(request), await self._form(request)
        if isinstance(form, Response):
            return form
        if not visitor.person:
            return PlainTextResponse("give your name first\n", 403)
        given = form.get("answer", "")
        given = form.get("other", "") if given == "other" else given
        answer, _, contaminant = given.partition(":")
        entry = await self._entry(_place_of(form.get("place", "")))
        if isinstance(entry, str):
            return PlainTextResponse(f"{entry}\n", 404)
        try:
            label = label_of(
                entry.card,
                person=visitor.person,
                answer=Answer(answer),
                contaminant=contaminant or None,
                said=self._site.now(),
            )
        except ValueError:
            return PlainTextResponse("choose what you say of the alert\n", 400)
        return await self._publish(request, label, entry)

    async def _undo(self, request: Request) -> Response:
        """Take back the newest label of a person."""
        visitor, form = _visitor(request), await self._form(request)
        if isinstance(form, Response):
            return form
        last = self._site.book.last_by(visitor.person) if visitor.person else None
        if last is None:
            return PlainTextResponse("there is nothing to take back\n", 404)
        return await self._publish(request, last.taken_back(self._site.now()), None)

    async def _publish(self, request: Request, label: Label, entry: Entry | None) -> Response:
        publish = self._site.publish
        if publish is None:
            return PlainTextResponse("labels are off: outputs.labels names no topic\n", 404)
        try:
            await asyncio.to_thread(publish, label)
        except StreamfilterError as error:
            return PlainTextResponse(f"not kept: {_words(error)}\n", 503)
        self._site.metrics.labels.inc()
        self._site.book.add(label)
        if "application/json" not in request.headers.get("accept", ""):
            back = "/labels" if entry is None else address_of_card(entry.card.place)
            return RedirectResponse(back, 303)
        said = said_html(self._site.book.of(label.origin))
        undone = "" if entry is not None else f"{label.survey} {label.alert_id}"
        origin = label.origin
        place = f"{origin.topic}/{origin.partition}/{origin.offset}"
        answer = {"said": said, "undone": undone, "alert": place}
        return Response(json.dumps(answer), media_type="application/json")

    async def _name(self, request: Request) -> Response:
        """Keep the name of who labels, in a cookie."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        person = " ".join(printable(form.get("person", "")).split())[:LONGEST_NAME]
        answer = RedirectResponse(_back(request), 303)
        self._set(answer, PERSON, quote(person), _YEAR_S)
        return answer

    async def _form(self, request: Request) -> dict[str, str] | Response:
        """The fields of a form of ours, or why it is refused."""
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > _MOST_BODY:
                    self._site.metrics.refused.labels("too_large").inc()
                    return PlainTextResponse("the form is too large\n", 413)
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=10))
        except ValueError:
            return PlainTextResponse("this is no form of ours\n", 400)
        visitor = _visitor(request)
        if visitor.new or not hmac.compare_digest(form.get("token", ""), visitor.token):
            self._site.metrics.refused.labels("cross_site").inc()
            return PlainTextResponse("the form is of another session: load the page again\n", 403)
        return form

    # Helpers of several

    async def _entry(self, place: Origin | None) -> Entry | str:
        """The card of an annotation, from what is held or from its topic; or why there is none."""
        if place is None or place.topic not in self._site.annotation_topics:
            return "The address names no annotation of these topics."
        entry = self._site.entry(place)
        if entry is not None:
            return entry
        async with self._fetching:
            try:
                card = await asyncio.to_thread(self._site.fetch, place)
            except StreamfilterError as error:
                return _words(error)
        return "The annotation is no longer in its topic." if card is None else Entry(0, card)

    def _html(self, page: bytes, visitor: Visitor, status: int = 200) -> Response:
        headers = {"Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"}
        answer = Response(page, status, headers)
        if visitor.new:
            self._set(answer, SESSION, visitor.token, None)
        return answer

    def _nothing(self, title: str, words: str, visitor: Visitor) -> Response:
        page = page_views.message_page(self._site, title, words, token=visitor.token)
        return self._html(page, visitor, 404)

    def _set(self, answer: Response, name: str, value: str, seconds: int | None) -> None:
        answer.set_cookie(
            name, value, seconds, httponly=True, samesite="strict", secure=self._secure
        )


def choice_of(request: Request) -> Choice:
    """Returns which cards a request asks for; what cannot be read is as if it were not given."""
    given = {name: value[:200] for name, value in request.query_params.items()}
    return Choice(
        survey=given.get("survey", ""),
        label=given.get("verdict", ""),
        contaminant=given.get("class", ""),
        rule=given.get("rule", ""),
        detector=given.get("detector", ""),
        filter=given.get("filter", ""),
        score_from=_real(given.get("score_from", "")),
        score_to=_real(given.get("score_to", "")),
        minutes=_real(given.get("minutes", "")),
        id=given.get("id", "").strip(),
    )


def _words(error: Exception) -> str:
    """What an error says, in one printable line without secrets."""
    return printable(clean(str(error)))


def _real(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e6 else None


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 15 else 0


def _visitor(request: Request) -> Visitor:
    token = request.cookies.get(SESSION, "")
    new = len(token) != 32 or not token.isalnum()
    person = printable(unquote(request.cookies.get(PERSON, "")))[:LONGEST_NAME]
    return Visitor(person, secrets.token_hex(16) if new else token, new)


def _back(request: Request) -> str:
    """Where a form was, on this host; the first page where that is not known."""
    referer = urlsplit(request.headers.get("referer", ""))
    if not referer.path.startswith("/") or referer.path.startswith(("//", "/\\")):
        return "/"
    return f"{referer.path}?{referer.query}" if referer.query else referer.path


def _coloured_by(request: Request) -> str:
    by = request.query_params.get("by", "")
    return by if by in exposure_views.COLOURED_BY else exposure_views.COLOURED_BY[0]


def _place(request: Request) -> Origin | None:
    named = request.path_params
    if named["offset"] > _LAST_OFFSET or named["partition"] >= 2**31:
        return None
    return Origin(named["topic"], named["partition"], named["offset"])


def _place_of(path: str) -> Origin | None:
    """The annotation that a path of ours names; None where it names none."""
    parts = path.split("/")
    if len(parts) != 5 or parts[:2] != ["", "card"]:
        return None
    partition, offset = parts[3], parts[4]
    if not (partition.isdecimal() and offset.isdecimal() and len(partition) < 10):
        return None
    return Origin(unquote(parts[2]), int(partition), int(offset)) if len(offset) < 19 else None


def _part(picture: Picture, name: str, arcsec_per_px: float | None) -> tuple[bytes, str]:
    """A file of a picture and its type; empty where it has none of that name."""
    stem, _, ending = name.rpartition(".")
    if ending == "png":
        return picture.planes.get(stem, b""), "image/png"
    if name == "scale.svg":
        return scale_svg(picture, arcsec_per_px), "image/svg+xml"
    if ending == "svg" and stem.startswith("mask-"):
        empty = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
        code = stem.removeprefix("mask-")
        return picture.outlines.get(code, empty), "image/svg+xml"
    return b"", ""
