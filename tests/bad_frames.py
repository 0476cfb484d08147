"""Files that are no frames to be judged, each in its own way."""

from pathlib import Path

import numpy as np
from astropy.io import fits


def write_bad_frames(folder: Path) -> dict[str, str]:
    """A folder of them; by name the reason why `mask` refuses it."""
    folder.mkdir()
    noise = np.random.default_rng(1).normal(1000, 10, (450, 450)).astype(np.float32)
    images = {
        "a_nan.fits": (np.full_like(noise, np.nan), "no_data"),
        "b_one.fits": (np.full((450, 450), 7, np.int16), "no_variation"),
        "c_row.fits": (noise.reshape(1, -1), "too_small"),
        "c_column.fits": (np.resize(noise, (10**6, 1)), "too_small"),
    }
    for name, (image, _) in images.items():
        fits.PrimaryHDU(image).writeto(folder / name)
    fits.PrimaryHDU(noise).writeto(folder / "d.fits")
    whole = (folder / "d.fits").read_bytes()
    (folder / "d.fits").unlink()
    damaged = {
        "e_half_a_header.fits": (whole[:240], "malformed"),
        "e_no_pixels.fits": (whole[:2880], "truncated"),
        "f_twice.fits": (_with_card(whole, "NAXIS1  =                  300"), "malformed"),
        "f_scales.fits": (
            _with_card(_with_card(whole, "BSCALE  = 1.0"), "BSCALE  = 2.0"), "malformed",
        ),
        "g_huge.fits": (_head(whole), "too_large"),
        "h_empty.fits": (b"", "empty"),
    }  # fmt: skip
    for name, (content, _) in damaged.items():
        (folder / name).write_bytes(content)
    head = _head(whole)
    with (folder / "g_beyond_memory.fits").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 2 * 100_000**2)  # empty on disk
    every = {name: reason for name, (_, reason) in (images | damaged).items()}
    return every | {"g_beyond_memory.fits": "too_large"}


def _head(whole: bytes) -> bytes:
    """The header of an image of 20 GB."""
    header = fits.Header.fromstring(whole[:2880])
    header["BITPIX"], header["NAXIS1"], header["NAXIS2"] = 16, 100_000, 100_000
    text: str = header.tostring()
    return text.encode()


def _with_card(content: bytes, card: str) -> bytes:
    end = content.index(b"END" + b" " * 77)
    return content[:end] + card.ljust(80).encode() + b"END".ljust(80) + content[end + 160 :]
