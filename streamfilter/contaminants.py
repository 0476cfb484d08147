"""The table of all classes of pixels: code, bit, meaning, prior and threshold, written once.

An engine has some of them, in an order of its own (``engines/<name>/engine.toml``).

Source: Paillassa, Bertin & Bouy 2020, A&A 634, A48, and ``maximask/config`` of the MaxiMask 1.4.1
release; RES is streamfilter's own. New classes stand at the end.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contaminant:
    """One class of pixels.

    ``prior`` is the default share of such pixels in real images, ``threshold`` the default on the
    probability after the prior change. An engine's manifest may have others.
    """

    code: str
    bit: int
    meaning: str
    prior: float
    threshold: float
    normal: bool = False
    """True for sources and sky: a good image consists of them, so they are no contamination."""


TABLE: tuple[Contaminant, ...] = (
    Contaminant("CR", 1, "cosmic ray", 5e-4, 0.43),
    Contaminant("HCL", 2, "hot column or line", 1e-5, 0.60),
    Contaminant("DCL", 4, "dead column, line or cluster", 1e-4, 0.74),
    Contaminant("HP", 8, "hot pixel", 1e-6, 0.43),
    Contaminant("DP", 16, "dead pixel", 1e-6, 0.99),
    Contaminant("P", 32, "persistence", 1e-3, 0.65),
    Contaminant("TRL", 64, "trail", 1e-3, 0.28),
    Contaminant("FR", 128, "residual fringes", 1e-3, 0.76),
    Contaminant("NEB", 256, "nebulosity", 1e-3, 0.56),
    Contaminant("SAT", 512, "saturated pixel", 1e-3, 0.81),
    Contaminant("SP", 1024, "diffraction spike", 5e-3, 0.54),
    Contaminant("OV", 2048, "overscan", 5e-3, 0.55),
    Contaminant("BBG", 4096, "bright background: pixels of real sources", 0.1, 0.44, True),
    Contaminant("BG", 0, "background", 0.9, 0.27, True),
    Contaminant("RES", 8192, "subtraction residual", 1e-3, 0.50),
)

CODES: tuple[str, ...] = tuple(row.code for row in TABLE)
BY_CODE: dict[str, Contaminant] = {row.code: row for row in TABLE}
