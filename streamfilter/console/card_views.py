"""Cards as HTML."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from streamfilter.alerts.stamp_views import COLOURS
from streamfilter.console.cards import Card, Deciding, Evidence, StampSummary, deciding
from streamfilter.console.labels import NAMED, Answer, Label
from streamfilter.console.markup import Child, Markup, joined, tag
from streamfilter.console.ring import Entry
from streamfilter.console.site import Site, address_of_card, object_address
from streamfilter.contaminants import BY_CODE
from streamfilter.records import Label as Verdict
from streamfilter.records import Plane, Statistic

KEYS: tuple[tuple[str, str], ...] = (
    ("right", "right"),
    ("wrong", "wrong"),
    ("real", "real"),
    ("artefact:CR", "cosmic ray"),
    ("artefact:TRL", "trail"),
    ("artefact:HCL", "hot column"),
    ("artefact:HP", "hot pixel"),
    ("artefact:RES", "subtraction residual"),
    ("cannot_tell", "cannot tell"),
)
"""What the keys 1 to 9 say, and its words."""
_UNIT = {
    Statistic.CORE: "at the centre", Statistic.PEAK: "at its peak", Statistic.PIXELS: "px",
    Statistic.TOGETHER: "at the centre from all engines together",
}  # fmt: skip
_MOST_CLASSES = 3  # of an engine on a card; its own page has all


def card_html(site: Site, entry: Entry, *, person: str, token: str, whole: bool = False) -> Markup:
    """Returns a card.

    Parameters
    ----------
    person, token
        Of who looks, for the form; an empty person has given no name yet.
    whole
        Whether all evidence is listed too, as on the card's own page.
    """
    card = entry.card
    return tag(
        "article",
        _head(card),
        _stamps(card),
        numbers_html(site, entry),
        _evidence(card) if whole else None,
        said_html(site.book.of(card.origin)),
        _form(card, person, token) if site.publish is not None else None,
        class_=f"card v-{card.label}",
        id=f"c{entry.number}",
        data_number=entry.number,
        data_place=address_of_card(card.place).removeprefix("/card/"),
        tabindex=-1,
        aria_label=f"{card.survey} {card.alert_id}, {card.label.replace('_', ' ')}",
    )


def _head(card: Card) -> Markup:
    verdict = card.label.replace("_", " ")
    if card.contaminant in BY_CODE:
        verdict += f": {BY_CODE[card.contaminant].meaning}"
    return tag(
        "header",
        tag("h2", tag("a", f"{card.survey} {card.alert_id}", href=address_of_card(card.place))),
        tag("p", verdict, class_="verdict"),
    )


def _stamps(card: Card) -> Markup:
    base = address_of_card(card.place)
    science = card.stamps.get(Plane.SCIENCE)
    masked = [] if science is None else [c for c, e in science.classes.items() if e.pixels]
    figures = []
    for plane in Plane:
        overlays = [
            tag("img", class_=f"mask m-{code}", src=f"{base}/mask-{code}.svg", loading="lazy",
                alt=f"outline of {BY_CODE[code].meaning}")
            for code in masked
            if plane is Plane.SCIENCE and code in COLOURS
        ]  # fmt: skip
        image = tag("img", class_="pixels", src=f"{base}/{plane}.png", loading="lazy",
                    alt=f"{plane} stamp")  # fmt: skip
        scale = tag("img", class_="scale", src=f"{base}/scale.svg", loading="lazy", alt="scale bar")
        box = tag("div", image, *overlays, scale if plane is Plane.SCIENCE else None,
                  class_="stamp")  # fmt: skip
        figures.append(tag("figure", box, tag("figcaption", plane)))
    return tag("div", *figures, class_="stamps")


def numbers_html(site: Site, entry: Entry) -> Markup:
    """Returns what decided, what the survey says, and when."""
    card, facts = entry.card, entry.facts
    page = site.page_of(card.survey)
    decided = deciding(card, site.rules.get(card.survey, ()))
    rows: list[tuple[str, Child]] = [("rule", _rule(card, decided)), *_engines(card)]
    if entry.disagreement is not None:
        rows.append(("differs", tag("span", entry.disagreement, class_="differs")))
    flags = ", ".join(card.flagged) or ("none" if card.flaggable else "has no flags")
    rows.append(("survey flags", f"{flags} ({card.agreement.replace('_', ' ')})"))
    if facts is not None:
        score = "none" if facts.score is None else f"{facts.score_name} {facts.score:.2f}"
        rows.append(("survey score", score))
        where = ", ".join(filter(None, (facts.detector and f"detector {facts.detector}",
                                        facts.filter and f"filter {facts.filter}")))  # fmt: skip
        rows.append(("taken", where or "not said"))
    since = card.since_light_s
    after = "" if since is None else f", {duration(since)} after the light"
    rows.append(("annotated", joined(moment(card.annotated), after)))
    address = object_address(card, page)
    if address:
        link = tag("a", card.object_id or card.alert_id, href=address, rel="noopener noreferrer",
                   target="_blank")  # fmt: skip
        rows.append(("object", link))
    elif card.object_id:
        rows.append(("object", card.object_id))
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows),
        class_="numbers",
    )  # fmt: skip


def _rule(card: Card, decided: Deciding | None) -> str:
    if card.label is Verdict.NOT_EVALUATED:
        reasons = {stamp.not_evaluated for stamp in card.stamps.values()} - {None}
        words = ", ".join(sorted(str(each).replace("_", " ") for each in reasons))
        return f"not evaluated: {words or 'not looked at, to keep up'}"
    if card.rule is None:
        return f"none spoke ({card.action})"
    if decided is None:
        core = "" if card.core is None else f", core {card.core:.2f}"
        return f"{card.rule} ({card.action}){core}; its number is not known here"
    value = f"{decided.value:.2f}" if decided.statistic is not Statistic.PIXELS else (
        f"{decided.value:.0f}"
    )  # fmt: skip
    alone = decided.engine == card.engine
    return (
        f"{card.rule} ({card.action}): {card.contaminant} {value} {_UNIT[decided.statistic]}"
        f"{'' if alone else f' by {decided.engine}'}, over {decided.above:g}"
    )


def _engines(card: Card) -> list[tuple[str, Child]]:
    """Where several engines were asked, what each finds; nothing where one was."""
    if not card.also:
        return []
    voices = [(card.engine, card.stamps), *((each.engine, each.stamps) for each in card.also)]
    return [(engine, _finds(stamps)) for engine, stamps in voices]


def _finds(stamps: Mapping[str, StampSummary]) -> str:
    """The likeliest classes of contaminants, each in the stamp where it is likeliest."""
    best: dict[str, Evidence] = {}
    for stamp in stamps.values():
        for code, each in stamp.classes.items():
            if not BY_CODE[code].normal and (code not in best or each.core > best[code].core):
                best[code] = each
    first = sorted(best.items(), key=lambda row: (-row[1].core, -row[1].pixels))[:_MOST_CLASSES]
    if first:
        return "; ".join(f"{code} {each.core:.2f}, {each.pixels} px" for code, each in first)
    reasons = sorted({str(each.not_evaluated) for each in stamps.values() if each.not_evaluated})
    words = ", ".join(reasons).replace("_", " ")
    return f"not evaluated: {words}" if words else "nothing"


def _evidence(card: Card) -> Markup:
    voices = [(card.engine, card.stamps, card.thresholds)]
    voices += [(each.engine, each.stamps, each.thresholds) for each in card.also]
    head = tag("tr", *(tag("th", name, scope="col") for name in (
        "engine", "stamp", "class", "core", "peak", "pixels", "threshold", "nearest")))  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("td", engine),
            tag("td", plane),
            tag("th", f"{code} {BY_CODE[code].meaning}", scope="row"),
            tag("td", f"{each.core:.3f}"),
            tag("td", f"{each.peak:.3f}"),
            tag("td", each.pixels),
            tag("td", f"{thresholds[code]:g}" if code in thresholds else ""),
            tag("td", "" if each.distance_px is None else f"{each.distance_px:.1f} px"),
        )
        for engine, stamps, thresholds in voices
        for plane, stamp in stamps.items()
        for code, each in stamp.classes.items()
    ]
    at = card.origin
    words = (
        f"engine {card.engine} {card.sha256[:8]} on {card.runtime}; alert at {at.topic} "
        f"[{at.partition}] offset {at.offset}; in the network {card.infer_s * 1000:.0f} ms"
    )
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    return tag("div", table, tag("p", words), class_="evidence")


def said_html(labels: Iterable[Label]) -> Markup:
    """Returns who said what of an alert; an empty line where nobody did."""
    said = [tag("span", f"{label.person}: {words_of(label)}", class_="label") for label in labels]
    return tag("p", *said, class_="said")


def words_of(label: Label) -> str:
    """Returns what a person says, in words."""
    if label.answer is Answer.ARTEFACT and label.contaminant in BY_CODE:
        return BY_CODE[label.contaminant].meaning
    return str(label.answer).replace("_", " ")


def _form(card: Card, person: str, token: str) -> Markup:
    if not person:
        link = tag("a", "give your name", href="#person")
        return tag("p", "To say whether this is right, ", link, " first.", class_="nameless")
    buttons = [
        tag("button", tag("kbd", number), f" {words}", name="answer", value=value, type="submit")
        for number, (value, words) in enumerate(KEYS, start=1)
    ]
    in_keys = {value for value, _ in KEYS}
    options = [
        tag("option", BY_CODE[code].meaning, value=f"artefact:{code}")
        for code in NAMED
        if f"artefact:{code}" not in in_keys
    ]
    other = tag(
        "span",
        tag("label", tag("span", "another class", class_="unseen"),
            tag("select", tag("option", "another class", value=""), *options, name="other")),
        tag("button", "say it", name="answer", value="other", type="submit"),
        class_="other",
    )  # fmt: skip
    hidden = (
        tag("input", type="hidden", name="token", value=token),
        tag("input", type="hidden", name="place", value=address_of_card(card.place)),
    )
    return tag("form", *hidden, *buttons, other, method="post", action="/labels", class_="say")


def moment(at: datetime | None) -> Markup:
    """Returns a time in UTC."""
    if at is None:
        return joined("not known")
    return tag(
        "time", f"{at:%H:%M:%S}", datetime=at.isoformat(), title=f"{at:%Y-%m-%d %H:%M:%S} UTC"
    )


def duration(seconds: float) -> str:
    """Returns a duration in a unit that suits it."""
    size = abs(seconds)
    if size < 120:
        return f"{seconds:.1f} s"
    if size < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if size < 172_800 else f"{seconds / 86_400:.0f} d"
