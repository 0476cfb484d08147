"""Nights of annotations in Parquet, as ``annotate`` writes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from streamfilter.archive.nights import COUNTED, DISAGREEING, UNKNOWN, Night, over_nights
from streamfilter.archive.outputs import REJECTS, annotations_in

VERSIONS = {"reliability": "reliabilityVersion", "drb": "drbversion", "rb": "rbversion"}
"""Surveys' scores, and the columns of what gave them: with another version they change."""
_LISTED = ("survey", "alert_id", "night", "verdict", "contaminant", "rule", "agreement", "flagged")


@dataclass(frozen=True, slots=True)
class Score:
    """A survey's score of alerts, and the value above which it takes one for real."""

    column: str
    above: float


class ParquetAnnotations:
    """The annotations of an output of ``annotate``, read a batch at a time.

    Raises
    ------
    ConfigurationInvalid
        There are none, or not with these columns.
    """

    def __init__(self, folder: Path, *, by: str = "", score: Score | None = None) -> None:
        self._folder, self._by, self._score = folder, by, score
        needed = [*_LISTED, *([by] if by else []), *([score.column] if score else [])]
        self._table = annotations_in(folder, needed)

    def nights(self) -> list[Night]:
        """Returns the nights in order: by survey, night, and the value of the further column."""
        return self._nights(self._by)

    def by_version(self) -> tuple[str, list[Night]]:
        """Returns the column of the score's version, and all nights together for each version.

        It is that of the score where one is named, else the first of ``VERSIONS`` that was kept;
        without one, no name and nothing.
        """
        scores = VERSIONS if self._score is None else (self._score.column,)
        kept = (VERSIONS[each] for each in scores if each in VERSIONS)
        column = next((each for each in kept if each in self._table.schema.names), "")
        return column, over_nights(self._nights(column)) if column else []

    def _nights(self, by: str) -> list[Night]:
        found: dict[tuple[str, str, str], Night] = {}
        keys = ["survey", "night", *([by] if by else [])]
        for batch in self._batches([*keys, *COUNTED]):
            for column in COUNTED:
                grouped = pa.table(batch).group_by([*keys, column]).aggregate([([], "count_all")])
                for row in grouped.to_pylist():
                    night = _night(found, row, by)
                    number = row["count_all"]
                    if column == COUNTED[0]:
                        night.alerts += number
                    night.count(column, row[column], number)
            if self._score is not None:
                self._count_scores(batch, keys, by, found)
        return [found[key] for key in sorted(found)]

    def disagreements(self) -> Iterator[dict[str, Any]]:
        """Yields the alerts on which filter and survey disagree, by flags or by score."""
        wanted = [each.value for each in DISAGREEING]
        for batch in self._batches(list(_LISTED)):
            differ = pc.is_in(batch["agreement"], pa.array(wanted))
            if self._score is not None:
                differ = pc.or_(differ, self._real_and_dropped(batch))
            yield from batch.filter(differ).to_pylist()

    def rejected(self) -> dict[str, int]:
        """Returns the rejected packets by reason, the most frequent first."""
        place = self._folder / REJECTS
        if not place.is_dir():
            return {}
        table = ds.dataset(place, format="parquet").to_table(columns=["rejected"])
        counts = {each["values"]: each["counts"] for each in _counted(table["rejected"])}
        return dict(sorted(counts.items(), key=lambda each: -each[1]))

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        more = [self._score.column] if self._score else []
        names = list(dict.fromkeys([*columns, "action", *more]))
        yield from (b for b in self._table.to_batches(columns=names) if b.num_rows)

    def _real_and_dropped(self, batch: pa.RecordBatch) -> pa.Array:
        assert self._score is not None
        real = pc.fill_null(pc.greater(batch[self._score.column], self._score.above), False)
        return pc.and_(real, pc.equal(batch["action"], "drop"))

    def _count_scores(
        self,
        batch: pa.RecordBatch,
        keys: list[str],
        by: str,
        found: dict[tuple[str, str, str], Night],
    ) -> None:
        assert self._score is not None
        real = pc.fill_null(pc.greater(batch[self._score.column], self._score.above), False)
        for mask, name in ((real, "scored"), (self._real_and_dropped(batch), "scored_and_dropped")):
            grouped = pa.table(batch.filter(mask)).group_by(keys).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                night = _night(found, row, by)
                setattr(night, name, getattr(night, name) + row["count_all"])


def _night(found: dict[tuple[str, str, str], Night], row: dict[str, Any], by: str) -> Night:
    value = _words(row[by]) if by else ""
    key = row["survey"], row["night"] or UNKNOWN, value
    return found.setdefault(key, Night(*key))


def _words(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counted(column: pa.ChunkedArray) -> list[dict[str, Any]]:
    counts: list[dict[str, Any]] = column.value_counts().to_pylist()
    return counts
