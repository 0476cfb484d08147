"""Whole pages: what stands around the cards, the state of the connection, and the filters."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from streamfilter.alerts.stamp_views import COLOURS
from streamfilter.console.card_views import card_html, moment, words_of
from streamfilter.console.markup import Markup, joined, tag
from streamfilter.console.ring import Choice, Entry
from streamfilter.console.site import Site
from streamfilter.contaminants import BY_CODE
from streamfilter.records import Label

PAGES = (
    ("/", "Live"),
    ("/review", "Worth a look"),
    ("/rates", "Rates"),
    ("/exposures", "Exposures"),
    ("/labels", "Labels"),
    ("/wall", "Wall"),
)
MOST_CARDS = 24
"""Of one page; a page that follows what comes keeps more."""


def document(
    site: Site, title: str, *body: Markup, path: str, person: str, token: str, kind: str = "page"
) -> bytes:
    """Returns a whole page.

    Parameters
    ----------
    path
        Of the page, for the list of pages.
    kind
        ``live`` or ``wall`` where the page follows what comes; every page follows the connection.
    """
    links = [
        tag("a", words, href=address, aria_current="page" if address == path else None)
        for address, words in PAGES
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} - streamfilter"),
        tag("link", rel="stylesheet", href="/static/console.css"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("script", src="/static/console.js", defer=True),
    )
    bar = tag(
        "header",
        tag("a", "Skip to the page", href="#main", class_="skip"),
        tag("nav", *links, aria_label="pages"),
        tag("p", status_words(site), id="status", role="status"),
        tag("p", "", id="told", role="status"),
        _person(site, person, token) if kind != "wall" else None,
        class_="bar",
    )
    main = tag("main", tag("h1", title), *body, id="main", tabindex=-1)
    whole = tag("html", head, tag("body", bar, main, class_=f"kind-{kind}" if kind else None,
                                  data_kind=kind or None), lang="en")  # fmt: skip
    return f"<!doctype html>{whole}".encode()


def renewed(*parts: Markup) -> Markup:
    """Returns a part of a page that the script asks for again, now and then."""
    return tag("div", *parts, data_renewed=True)


def status_words(site: Site) -> str:
    """Returns what is known of the connection and of what is shown, in words."""
    state = site.feed_state()
    parts = []
    if state.trouble:
        parts.append(f"Not connected since {state.since:%H:%M:%S} UTC: {state.trouble}")
    elif not state.connected:
        parts.append(f"Not connected since {state.since:%H:%M:%S} UTC: trying again")
    elif state.behind > 100:
        parts.append(f"Behind by {state.behind:,} messages")
    else:
        parts.append("Connected")
    if state.connected and state.missing:
        parts.append(f"no topic {', '.join(state.missing)}")
    parts.append(
        f"{site.ring.held:,} alerts held, score and detector known of {site.ring.read():,}"
    )
    lag = site.lag()
    if lag is not None:
        parts.append(f"workers {lag:,} behind")
    if site.darkroom.trouble:
        parts.append(f"alerts cannot be looked at: {site.darkroom.trouble}")
    return "; ".join(parts)


def _person(site: Site, person: str, token: str) -> Markup:
    if site.publish is None:
        return tag("p", "Labels are off: outputs.labels names no topic.", class_="nameless")
    field = tag("input", id="person", name="person", value=person, maxlength=40, required=True,
                autocomplete="nickname")  # fmt: skip
    return tag(
        "form",
        tag("label", "Your name", for_="person"),
        field,
        tag("input", type="hidden", name="token", value=token),
        tag("button", "keep", type="submit"),
        method="post",
        action="/person",
        class_="person",
    )


def live_page(site: Site, choice: Choice, *, before: int, person: str, token: str) -> bytes:
    """Returns the newest cards that fit, and the form to choose them."""
    entries = site.ring.newest(site.now(), choice, MOST_CARDS, before=before)
    older = None
    if len(entries) == MOST_CARDS:
        query = urlencode({**query_of(choice), "before": entries[-1].number})
        older = tag("p", tag("a", "older", href=f"/?{query}", class_="older"))
    body = (
        _filters(site, choice, "/"),
        _legend(),
        _controls() if not before else joined(),
        _cards(site, entries, person, token, choice),
        joined(older),
    )
    kind = "page" if before else "live"
    return document(site, "Live", *body, path="/", person=person, token=token, kind=kind)


def review_page(site: Site, choice: Choice, *, person: str, token: str) -> bytes:
    """Returns disagreements, suspects and a control, those without a label of this person first."""
    entries = site.ring.doubtful(site.now(), choice, 4 * MOST_CARDS)
    mine = {label.origin for label in site.book.all() if label.person == person}
    left = [each for each in entries if each.card.origin not in mine][:MOST_CARDS]
    words = (
        "Disagreements with the survey first, then suspects, last one clean alert drawn at random "
        "as a control. What you have labelled is left out."
    )
    body = (
        tag("p", words),
        _filters(site, choice, "/review"),
        _legend(),
        _cards(site, left, person, token, choice),
    )
    return document(
        site, "Worth a look", *body, path="/review", person=person, token=token, kind="review"
    )


def wall_page(site: Site, *, token: str) -> bytes:
    """Returns a view for a wall, which needs no hand."""
    entries = site.ring.newest(site.now(), Choice(), 12)
    body = (_cards(site, entries, "", token, Choice()),)
    return document(site, "Live", *body, path="/wall", person="", token=token, kind="wall")


def card_page(site: Site, entry: Entry, *, person: str, token: str) -> bytes:
    """Returns one card with all evidence."""
    card = card_html(site, entry, person=person, token=token, whole=True)
    title = f"{entry.card.survey} {entry.card.alert_id}"
    return document(site, title, _legend(), card, path="", person=person, token=token, kind="card")


def message_page(site: Site, title: str, words: str, *, token: str) -> bytes:
    """Returns a page that says why there is nothing else."""
    return document(site, title, tag("p", words), path="", person="", token=token, kind="")


def _cards(site: Site, entries: Iterable[Entry], person: str, token: str, choice: Choice) -> Markup:
    cards = [card_html(site, each, person=person, token=token) for each in entries]
    empty = tag("p", "Nothing fits yet.", class_="empty", hidden=bool(cards))
    last = f"{site.boot}-{site.ring.last_for(choice)}"
    return joined(empty, tag("div", *cards, id="cards", data_last=last))


def _controls() -> Markup:
    """What only works with a script, which shows it."""
    return tag(
        "div",
        tag("button", "Pause", id="pause", type="button", aria_pressed="false"),
        tag("span", "", id="waiting", role="status"),
        tag("span", "Keys: j next, k previous, 1 to 9 label, u undo, p pause", class_="keys"),
        class_="controls",
        hidden=True,
    )


def _legend() -> Markup:
    """Switches for the outlines of each class, which need no script."""
    switches = [
        tag(
            "label",
            tag("input", type="checkbox", id=f"show-{code}", checked=True),
            tag("svg", tag("rect", width=10, height=10, fill=colour), width=10, height=10,
                aria_hidden="true"),
            f" {BY_CODE[code].meaning}",
        )
        for code, colour in COLOURS.items()
    ]  # fmt: skip
    zoom = tag("label", tag("input", type="checkbox", id="zoom"), " zoom into the middle")
    return tag(
        "details",
        tag("summary", "Outlines and zoom"),
        tag("fieldset", tag("legend", "Outlines of masks"), *switches, zoom),
        class_="legend",
    )


def query_of(choice: Choice) -> dict[str, str]:
    """Returns what is chosen, as the query of an address."""
    names = {"label": "verdict", "contaminant": "class"}
    values = {name: getattr(choice, name) for name in Choice.__dataclass_fields__}
    return {
        names.get(name, name): f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if value not in ("", None)
    }


def _filters(site: Site, choice: Choice, action: str) -> Markup:
    known = {**site.ring.values(), "label": [str(label) for label in Label]}
    selects = [
        _select(words, name, known.get(key, []), getattr(choice, key))
        for words, name, key in (
            ("survey", "survey", "survey"), ("verdict", "verdict", "label"),
            ("class", "class", "contaminant"), ("rule", "rule", "rule"),
            ("detector", "detector", "detector"), ("filter", "filter", "filter"),
        )
    ]  # fmt: skip
    numbers = [
        _number("score from", "score_from", choice.score_from, "0.05"),
        _number("to", "score_to", choice.score_to, "0.05"),
        _number("last minutes", "minutes", choice.minutes, "1"),
    ]
    search = tag("label", "id", tag("input", name="id", value=choice.id, maxlength=200, size=18))
    chosen = query_of(choice)
    return tag(
        "details",
        tag("summary", "Choose" + (f": {_chosen_words(chosen)}" if chosen else "")),
        tag("form", *selects, *numbers, search, tag("button", "show", type="submit"),
            tag("a", "all", href=action), method="get", action=action, class_="choose"),
        open=bool(chosen),
    )  # fmt: skip


def _chosen_words(chosen: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())


def _select(words: str, name: str, values: Iterable[str], chosen: str) -> Markup:
    listed = list(values)
    if chosen and chosen not in listed:
        listed.append(chosen)
    options = [tag("option", "any", value="")]
    options += [
        tag("option", value.replace("_", " "), value=value, selected=value == chosen)
        for value in listed
    ]
    return tag("label", words, tag("select", *options, name=name))


def _number(words: str, name: str, value: float | None, step: str) -> Markup:
    shown = "" if value is None else f"{value:g}"
    return tag("label", words, tag("input", type="number", name=name, value=shown, step=step,
                                   min="0"))  # fmt: skip


def labels_page(site: Site, *, person: str, token: str) -> bytes:
    """Returns what people said, and how that bears out the rules."""
    head = tag("tr", *(tag("th", name, scope="col") for name in (
        "rule", "borne out", "contradicted", "to be expected", "finding")))  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("th", each.rule or "no rule spoke", scope="row"),
            tag("td", each.borne_out),
            tag("td", each.contradicted),
            tag("td", "" if each.expected is None else f"{each.expected:.1f}"),
            tag("td", "contradicted more often than its posteriors claim"
                if each.too_often else ""),
            class_="too-often" if each.too_often else None,
        )
        for each in site.book.agreements()
    ]  # fmt: skip
    title = "What people say of the rules"
    table = tag("table", tag("caption", title), tag("thead", head), tag("tbody", *rows))
    people = ", ".join(f"{name}: {count}" for name, count in site.book.persons())
    newest = sorted(site.book.all(), key=lambda label: label.said, reverse=True)[:50]
    last = [
        tag("li", moment(each.said), f" {each.person} on {each.survey} {each.alert_id} "
            f"({each.verdict}, {each.rule or 'no rule'}): {words_of(each)}")
        for each in newest
    ]  # fmt: skip
    words = (
        "To be expected: how many drops the posteriors themselves leave room to be wrong. "
        "Each person's word is counted by itself."
    )
    body = (
        tag("div", table, class_="wide", tabindex=0, role="region", aria_label=title),
        tag("p", words),
        tag("p", f"Who said so many: {people or 'nobody yet'}."),
        tag("p", "All of it as ",
            tag("a", "JSON lines", href="/labels.jsonl", download=True), " or ",
            tag("a", "Parquet", href="/labels.parquet", download=True), "."),
        tag("h2", "The newest"),
        tag("ol", *last),
    )  # fmt: skip
    return document(site, "Labels", *body, path="/labels", person=person, token=token)
