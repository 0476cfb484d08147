"""The class table of MaxiMask: code, bit, meaning, priors and threshold, written once.

Source: Paillassa, Bertin & Bouy 2020, A&A 634, A48, and ``maximask/config`` of the MaxiMask 1.4.1
release. The order is the order of the network's outputs.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contaminant:
    """One class of pixels.

    ``training_prior`` is the share of such pixels in the training set. ``prior`` is the release's
    default for real images, ``threshold`` its default on the updated probability.
    """

    code: str
    bit: int
    meaning: str
    training_prior: float
    prior: float
    threshold: float
    normal: bool = False
    """True for sources and sky: a good image consists of them, so they are no contamination."""


TABLE: tuple[Contaminant, ...] = (
    Contaminant("CR", 1, "cosmic ray", 0.010, 5e-4, 0.43),
    Contaminant("HCL", 2, "hot column or line", 0.009, 1e-5, 0.60),
    Contaminant("DCL", 4, "dead column, line or cluster", 0.036, 1e-4, 0.74),
    Contaminant("HP", 8, "hot pixel", 0.001, 1e-6, 0.43),
    Contaminant("DP", 16, "dead pixel", 0.001, 1e-6, 0.99),
    Contaminant("P", 32, "persistence", 0.010, 1e-3, 0.65),
    Contaminant("TRL", 64, "trail", 0.103, 1e-3, 0.28),
    Contaminant("FR", 128, "residual fringes", 0.126, 1e-3, 0.76),
    Contaminant("NEB", 256, "nebulosity", 0.171, 1e-3, 0.56),
    Contaminant("SAT", 512, "saturated pixel", 0.002, 1e-3, 0.81),
    Contaminant("SP", 1024, "diffraction spike", 0.044, 5e-3, 0.54),
    Contaminant("OV", 2048, "overscan", 0.118, 5e-3, 0.55),
    Contaminant("BBG", 4096, "bright background: pixels of real sources", 0.126, 0.1, 0.44, True),
    Contaminant("BG", 0, "background", 0.395, 0.9, 0.27, True),
)

CODES: tuple[str, ...] = tuple(row.code for row in TABLE)
BY_CODE: dict[str, Contaminant] = {row.code: row for row in TABLE}
