"""Rates as HTML tables with bars of SVG."""

from collections.abc import Mapping

from streamfilter.console.card_views import duration
from streamfilter.console.markup import Markup, tag
from streamfilter.console.page_views import document, renewed
from streamfilter.console.site import Site
from streamfilter.records import Label

_BAR = 120  # px of the widest bar
_MOST_ROWS = 250
_LABELS = (Label.CLEAN, Label.SUSPECT, Label.CONTAMINATED)
_Verdicts = dict[tuple[str, str], int]
"""Counts by label and class."""


def rates_page(site: Site, *, person: str, token: str) -> bytes:
    """Returns verdicts by class, by detector and filter, latencies, rejections."""
    rates = site.counts.rates(site.now())
    since = f"since {rates.began:%Y-%m-%d %H:%M} UTC, when the page began"
    body = [
        tag("p", f"The last hour against all {since}. What was there before is not counted."),
        _verdicts(rates.hour, rates.total),
        _latencies(rates.since_light_s, rates.since_message_s),
        _rejected(rates.rejected, rates.unreadable),
        places_table(rates.places_hour, rates.places_total),
    ]
    lag = site.lag()
    words = "not known" if lag is None else f"{lag:,} alerts"
    body.insert(3, tag("p", f"The workers are behind by: {words}."))
    return document(site, "Rates", renewed(*body), path="/rates", person=person, token=token)


def _verdicts(hour: Mapping[tuple[str, ...], int], total: Mapping[tuple[str, ...], int]) -> Markup:
    order = {str(label): number for number, label in enumerate(Label)}
    keys = sorted(total, key=lambda key: (order.get(key[0], 9), key[1]))
    every = (max(1, sum(hour.values())), max(1, sum(total.values())))
    rows = [
        tag(
            "tr",
            tag("th", f"{label.replace('_', ' ')} {code}".strip(), scope="row"),
            *_cells(hour.get((label, code), 0), every[0], label),
            *_cells(total[label, code], every[1], label),
        )
        for label, code in keys
    ]
    sums = tag("tr", tag("th", "all", scope="row"), tag("td", sum(hour.values())), tag("td", ""),
               tag("td", sum(total.values())), tag("td", ""))  # fmt: skip
    return _table("Verdicts by class", ("verdict", "last hour", "", "all", ""), [*rows, sums])


def _cells(count: int, every: int, label: str) -> tuple[Markup, Markup]:
    share = count / every
    bar = tag("rect", width=round(_BAR * share, 1), height=12, class_=f"bar-{label}")
    drawing = tag("svg", bar, width=_BAR, height=12, role="img", aria_label=f"{share:.1%}")
    return tag("td", f"{count}"), tag("td", drawing, f" {share:.1%}")


def _latencies(light: object, message: object) -> Markup:
    rows = []
    for name, found in (("from the light", light), ("from Kafka's timestamp", message)):
        values = [duration(each) for each in found] if isinstance(found, tuple) else []
        cells = values or ["not known", "not known"]
        rows.append(tag("tr", tag("th", name, scope="row"), *(tag("td", each) for each in cells)))
    return _table("To the annotation, last hour", ("", "p50", "p99"), rows)


def _rejected(rejected: Mapping[str, int], unreadable: int) -> Markup:
    rows = [
        tag("tr", tag("th", reason, scope="row"), tag("td", count))
        for reason, count in sorted(rejected.items(), key=lambda row: (-row[1], row[0]))
    ]
    rows += [tag("tr", tag("th", "none", scope="row"), tag("td", 0))] if not rows else []
    if unreadable:
        words = "messages of the outputs that are not ours"
        rows.append(tag("tr", tag("th", words, scope="row"), tag("td", unreadable)))
    return _table("Rejected by reason", ("reason", "messages"), rows)


def places_table(
    hour: Mapping[tuple[str, ...], int], total: Mapping[tuple[str, ...], int]
) -> Markup:
    """Returns a row for each detector and filter, those with the most contaminated alerts first."""
    every = _by_place(total)
    recent = _by_place(hour)
    worst = sorted(every, key=lambda place: (-_dropped(every[place]), len(place[1]), place))
    rows = [
        tag(
            "tr",
            tag("td", place[0]),
            tag("th", place[1] or "not said", scope="row"),
            tag("td", place[2] or "not said"),
            *(tag("td", f"{_of(recent.get(place, {}), label)} / {_of(every[place], label)}")
              for label in _LABELS),
            tag("td", _classes(every[place])),
        )
        for place in worst[:_MOST_ROWS]
    ]  # fmt: skip
    title = "By detector and filter, last hour / all, of the alerts whose packet was read"
    if len(worst) > _MOST_ROWS:
        title += f"; the {_MOST_ROWS} of {len(worst):,} with the most contaminated ones"
    columns = ("survey", "detector", "filter", *_LABELS, "contaminated by")
    return _table(title, columns, rows)


def _by_place(counts: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], _Verdicts]:
    """By survey, detector and filter, the counts of verdicts and classes."""
    found: dict[tuple[str, ...], _Verdicts] = {}
    for (*place, label, code), count in counts.items():
        found.setdefault(tuple(place), {})[label, code] = count
    return found


def _of(verdicts: _Verdicts, label: str) -> int:
    return sum(count for (each, _), count in verdicts.items() if each == label)


def _dropped(verdicts: _Verdicts) -> int:
    return _of(verdicts, Label.CONTAMINATED)


def _classes(verdicts: _Verdicts) -> str:
    found = [(count, code) for (label, code), count in verdicts.items()
             if label == Label.CONTAMINATED and code]  # fmt: skip
    return ", ".join(
        f"{code} {count}" for count, code in sorted(found, key=lambda x: (-x[0], x[1]))
    )


def _table(title: str, columns: tuple[str, ...], rows: list[Markup]) -> Markup:
    head = tag("tr", *(tag("th", name, scope="col") if name else tag("td") for name in columns))
    table = tag("table", tag("caption", title), tag("thead", head), tag("tbody", *rows))
    return tag("div", table, class_="wide", tabindex=0, role="region", aria_label=title)
