"""From panels to Grafana's own model of dashboards, with Grafana Labs' library."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from boards.panel import Board, Kind, Panel, Query, Unit, Variable

Drawn = timeseries.Panel | stat.Panel | table.Panel

_RUNBOOK = "streamfilter-runbook"
"""The dashboard that holds the runbook, so that links work without another server."""
_ROWS_FROM = 1000
"""Above the numbers of panels, which links name."""
_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_INSTANT = (Kind.NUMBER, Kind.MAP, Kind.TABLE)
# The minutes around a failure: Grafana's own words for a time and how much around it.
_AROUND = "time=${__data.fields.judged.numeric}&time.window=1200000"


def url_of(section: str) -> str:
    """Where a section of the runbook is shown."""
    return f"/d/{_RUNBOOK}?viewPanel={_number_of(section)}"


def _number_of(section: str) -> int:
    """The number of a section's panel: the same when others come or go, so that links hold."""
    return zlib.crc32(section.encode()) % 10**6


def drawn(board: Board, sections: list[str]) -> str:
    """The JSON of a dashboard.

    Parameters
    ----------
    sections
        Headings of the runbook, the first for its beginning.
    """
    made = _begun(board.name, board.title, board.text)
    made.with_variable(
        build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    )
    for variable in board.variables:
        made.with_variable(_variable(variable))
    number = 0
    for title, panels in board.rows:
        made.with_row(build.Row(title).id(_ROWS_FROM + number))
        for panel in panels:
            number += 1
            made.with_panel(_panel(panel, number, url_of(_section(panel.runbook, sections))))
    return _encoded(made)


def drawn_runbook(sections: dict[str, str]) -> str:
    """The JSON of the runbook as a dashboard: a text for each section, markdown as it stands."""
    made = _begun(
        "runbook", "streamfilter: runbook", "What to do for each alert: deploy/RUNBOOK.md."
    )
    for at, (title, words) in enumerate(sections.items()):
        panel = text.Panel().mode(TextMode.MARKDOWN).content(words)
        panel.id(_number_of(title)).title(title).height(7).span(12 if at else 24)
        made.with_panel(panel)
    return _encoded(made)


def _begun(name: str, title: str, words: str) -> build.Dashboard:
    return (
        build.Dashboard(title)
        .uid(f"streamfilter-{name}")
        .description(words)
        .tags(["streamfilter"])
        .time("now-3h", "now")
        .timezone("utc")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("streamfilter")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["streamfilter"])
            .include_vars(True)
            .keep_time(True)
        )
    )


def _encoded(made: build.Dashboard) -> str:
    return JSONEncoder(indent=1, sort_keys=True, ensure_ascii=False).encode(made.build()) + "\n"


def _section(name: str, sections: list[str]) -> str:
    """A section that is there; an empty name is the runbook's beginning."""
    section = name or sections[0]
    if section not in sections:
        raise SystemExit(f"the runbook has no section {name!r}; it has {', '.join(sections)}")
    return section


def _variable(variable: Variable) -> build.QueryVariable:
    return (
        build.QueryVariable(variable.name)
        .label(variable.name)
        .datasource(_SOURCE)
        .query({"query": variable.query, "refId": variable.name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
    )


def _panel(panel: Panel, number: int, runbook: str) -> Drawn:
    """What all kinds have in common."""
    made = _KINDS.get(panel.kind, _lines)(panel, runbook)
    made.id(number).title(panel.title).description(panel.text).datasource(_SOURCE)
    made.span(panel.width).height(panel.height).unit(panel.unit).no_value("none")
    link = build.DashboardLink("what to do").type(dashboard.DashboardLinkType.LINK).url(runbook)
    made.links([link])
    for at, query in enumerate(panel.queries):
        made.with_target(_target(panel, query, chr(ord("A") + at)))
    if panel.unit is not Unit.AGO:
        made.min(0)
    if panel.most is not None:
        made.max(panel.most)
    if panel.kind is not Kind.MAP:
        made.thresholds(_thresholds(panel.limits))
    return made


def _target(panel: Panel, query: Query, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(_SOURCE)
    if query.legend:
        target.legend_format(query.legend)
    if panel.kind is Kind.TABLE:
        target.format(PromQueryFormat.TABLE)
    return target.instant() if panel.kind in _INSTANT else target.range()


def _thresholds(limits: tuple[float, float] | None) -> build.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color="green")]
    for value, colour in zip(limits or (), ("orange", "red"), strict=False):
        steps.append(dashboard.Threshold(value=value, color=colour))
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Panel, _runbook: str) -> timeseries.Panel:
    made = timeseries.Panel().line_width(1).show_points(common.VisibilityMode.AUTO)
    made.legend(
        looks.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    made.tooltip(looks.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    if panel.kind is Kind.STACK:
        made.stacking(looks.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(30)
    if panel.limits:
        line = looks.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made.thresholds_style(line)
    return made


def _tiles() -> stat.Panel:
    """Numbers as of now: `last`, because `lastNotNull` would skip what cannot be told."""
    return (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(looks.ReduceDataOptions().calcs(["last"]).values(False))
    )


def _number(panel: Panel, _runbook: str) -> stat.Panel:
    made = _tiles().color_mode(common.BigValueColorMode.VALUE)
    return made.text_mode(common.BigValueTextMode.AUTO)


def _map(panel: Panel, _runbook: str) -> stat.Panel:
    result = dashboard.ValueMappingResult
    known = {"0": result(text="tracked", color="green"), "1": result(text="trailed", color="red")}
    unknown = dashboard.DashboardSpecialValueMapOptions(
        match=dashboard.SpecialValueMatch.NULL_AND_NAN,
        result=result(text="cannot tell", color="#808080"),
    )
    return (
        _tiles()
        .color_mode(common.BigValueColorMode.BACKGROUND_SOLID)
        .text_mode(common.BigValueTextMode.NAME)
        .justify_mode(common.BigValueJustifyMode.CENTER)
        .mappings([dashboard.ValueMap(known), dashboard.SpecialValueMap(unknown)])
    )


def _table(panel: Panel, runbook: str) -> table.Panel:
    """A row for each series, of its labels those that the panel names."""
    names = [name for name, _ in panel.columns]
    steps: list[tuple[str, dict[str, Any]]] = [
        ("merge", {}),
        ("filterFieldsByName", {"include": {"names": names}}),
        ("organize", {
            "indexByName": {name: at for at, name in enumerate(names)},
            "renameByName": {name: head for name, head in panel.columns if name != head},
        }),
    ]  # fmt: skip
    made = table.Panel().align(common.FieldTextAlignment.AUTO)
    for name, options in steps:
        made.with_transformation(dashboard.DataTransformerConfig(id_val=name, options=options))
    if "exposure" in names:
        links = dashboard.DynamicConfigValue("links", _failure_links(runbook))
        made.override_by_name("exposure", [links])
    return made


def _failure_links(runbook: str) -> list[dict[str, str]]:
    """Where a click on a failed exposure leads; a site adds its archive here."""
    of_instrument = "var-instrument=${__data.fields.instrument}"
    return [
        {
            "title": "exposures around it",
            "url": f"/d/streamfilter-exposures?{of_instrument}&{_AROUND}",
        },
        {"title": "alerts around it", "url": f"/d/streamfilter-night?{_AROUND}"},
        {"title": "what to do", "url": runbook},
    ]


_KINDS: Mapping[Kind, Callable[[Panel, str], Drawn]] = {
    Kind.NUMBER: _number,
    Kind.MAP: _map,
    Kind.TABLE: _table,
}
