"""Chooses the tiles that go through the network: those with stars, spread over the detector.

Tiles of one exposure err together, so a few of them are worth nearly what all are. More are asked
only while those that are left could change the decision.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from streamfilter.exposures.records import TileEvidence

Ask = Callable[[Sequence[int]], Sequence[float]]
"""Returns the network's raw outputs for tiles, by their numbers."""
Settled = Callable[[Sequence[TileEvidence]], bool]
"""Whether the tiles without an output would not change the decision."""


def asked(
    tiles: Sequence[TileEvidence], ask: Ask, settled: Settled, *, enough: int, batch: int
) -> tuple[TileEvidence, ...]:
    """Returns the tiles in their order, with the outputs of those that were asked.

    Parameters
    ----------
    tiles
        All of a detector, without outputs.
    enough
        Tiles asked before the evidence is weighed; tiles that abstain are not asked. 0: every
        tile is asked, also those that abstain.
    batch
        Tiles asked at a time from then on.
    """
    found = list(tiles)
    order = by_zone(tiles, enough) if enough else range(len(found))
    start, stop = 0, enough or len(found)
    while start < len(order) and not (start and settled(found)):
        numbers = order[start:stop]
        for number, output in zip(numbers, ask(numbers), strict=True):
            found[number] = replace(found[number], probability=output)
        start, stop = stop, stop + batch
    return tuple(found)


def by_zone(tiles: Sequence[TileEvidence], zones: int) -> list[int]:
    """Returns the numbers of the tiles that do not abstain, so that any first few are spread.

    The detector is divided into about ``zones`` equal parts. Each round takes of every part the
    tile with the most stars that is left: edges, where optics are worse, come in as often as the
    middle.
    """
    height, width = (1 + max(starts) for starts in ([t.y for t in tiles], [t.x for t in tiles]))
    rows = min(max(round((zones * height / width) ** 0.5), 1), zones)
    columns = max(round(zones / rows), 1)
    parts: dict[tuple[int, int], list[int]] = {}
    for number, tile in enumerate(tiles):
        if not tile.abstains:
            part = tile.y * rows // height, tile.x * columns // width
            parts.setdefault(part, []).append(number)
    ranked = [
        # Not by weight, which is less where tiles overlap: there stars say as much.
        sorted(numbers, key=lambda number: (-tiles[number].stars * tiles[number].unmasked, number))
        for _, numbers in sorted(parts.items())
    ]
    rounds = range(max((len(numbers) for numbers in ranked), default=0))
    return [numbers[turn] for turn in rounds for numbers in ranked if turn < len(numbers)]
