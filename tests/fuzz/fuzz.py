"""Coverage-guided fuzzing of everything that takes bytes from a stream (atheris, libFuzzer).

    python tests/fuzz/fuzz.py                        all targets, 60 s each
    python tests/fuzz/fuzz.py stamp --seconds 600
    python tests/fuzz/fuzz.py --runs 2000            bounded by inputs: the same on any machine

An input that breaks a target (an exception that is not ours, over 10 s, over 2 GiB) is written to
``tests/fuzz/regressions/<target>-<sha1>``; ``tests/fuzz/test_fuzz.py`` replays what stands there.
What is found on the way to it stays in ``.cache/fuzz/<target>`` for the next run.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
with atheris.instrument_imports(include=["streamfilter"]):
    import targets

FOUND = HERE.parent.parent / ".cache" / "fuzz"
# A message takes milliseconds; the machine may be busy.
_HANG_S = 10
_MEMORY_MB = 2048
# Each FITS block is 2,880 bytes, and a frame of two HDUs with pixels has six.
_LONGEST_BYTES = 32_768


# Bytes alone rarely leave a FITS header in its columns: these are put in whole.
_CARD = 80
_VALUES = (
    *("T", "F", "0", "1", "2", "-1", "8", "16", "-32", "-64", "999", "65536", "2147483647"),
    *("9223372036854775808", "1E400", "NaN", "''", "'RICE_1  '", "'GZIP_1  '", "'PLIO_1  '"),
    *("'HCOMPRESS_1'", "'1PB(9)  '", "'1QI     '", "'D       '", "'IMAGE   '", "'BINTABLE'"),
    *("'UNCERT  '", "'[1:9,1:9]'", "'BYTEPIX '"),
)
_KEYWORDS = (
    *("NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "BITPIX", "PCOUNT", "GCOUNT", "BZERO", "BSCALE"),
    *("BLANK", "EXTNAME", "EXTVER", "GROUPS", "TFIELDS", "TFORM1", "TTYPE1", "THEAP", "ZIMAGE"),
    *("ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZCMPTYPE", "ZBITPIX", "ZVAL1", "ZNAME1"),
    *("ZBLANK", "ZQUANTIZ", "ZDITHER0", "ZSCALE", "TRIMSEC", "DATASEC", "BIASSEC", "SATURATE"),
    *("CCDNUM", "UTYPE", "CHECKSUM", "INHERIT", "SIMPLE", "XTENSION", "END"),
)


def cards(data: bytes, most: int, seed: int) -> bytes:
    """Bytes of FITS with one card of a header changed, or as libFuzzer changes any bytes."""
    rng = random.Random(seed)
    places = [at for at in range(0, len(data) - _CARD, _CARD) if data[at + 8 : at + 9] == b"="]
    if not places or rng.random() < 0.4:
        mutated: bytes = atheris.Mutate(data, most)
        return mutated
    at, other = rng.choice(places), rng.choice(places)
    card, spare = data[at : at + _CARD], data[other : other + _CARD]
    way = rng.randrange(5)
    if way == 0:
        card = card[:10] + rng.choice(_VALUES).rjust(20).encode().ljust(70)
    elif way == 1:
        card = f"{rng.choice(_KEYWORDS):8}=".encode() + card[9:]
    elif way == 2:
        card = f"{rng.choice(_KEYWORDS):8}= {rng.choice(_VALUES):>20}".encode().ljust(_CARD)
    elif way == 3:
        card = spare
    else:
        card = card[:10] + str(rng.randrange(-2, 40)).rjust(20).encode().ljust(70)
    return data[:at] + card[:_CARD] + data[at + _CARD :]


_TYPES = (
    *("null", "boolean", "int", "long", "float", "double", "bytes", "string", "t.point", "none"),
    *("record", "error", "enum", "array", "map", "fixed", "union", "", None, 0, -1, 2**40, True),
)


def types(data: bytes, most: int, seed: int) -> bytes:
    """A writer schema with one of its parts changed, or as libFuzzer changes any bytes."""
    rng = random.Random(seed)
    text, zero, body = data.partition(b"\0")
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError):
        definition = None
    parts = list(parts_of(definition)) if isinstance(definition, dict) else []
    if not parts or rng.random() < 0.4:
        mutated: bytes = atheris.Mutate(data, most)
        return mutated
    place, key = rng.choice(parts)
    other, other_key = rng.choice(parts)
    way = rng.randrange(5)
    if way == 0:
        place[key] = rng.choice(_TYPES)
    elif way == 1:
        place[key] = json.loads(json.dumps(other[other_key]))
    elif way == 2:
        place[key] = [place[key], rng.choice(_TYPES)]
    elif way == 3:
        kind = rng.choice(("array", "map"))
        place[key] = {"type": kind, "items" if kind == "array" else "values": place[key]}
    else:
        del place[key]
    return json.dumps(definition).encode() + zero + body


def parts_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a piece of JSON, as what holds it and its key or index."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from parts_of(value[key])


_MUTATORS = {"stamp": cards, "frame": cards, "schema": types}


def arguments(name: str, found: Path, options: argparse.Namespace) -> list[str]:
    """libFuzzer's own; it adds to the first folder what brings it further."""
    keep = found / name
    keep.mkdir(parents=True, exist_ok=True)
    bound = f"-runs={options.runs}" if options.runs else f"-max_total_time={options.seconds}"
    return [
        name, bound, f"-seed={options.seed}", f"-timeout={_HANG_S}",
        f"-rss_limit_mb={_MEMORY_MB}", f"-max_len={_LONGEST_BYTES}", "-print_final_stats=1",
        f"-artifact_prefix={targets.REGRESSIONS}/{name}-", "-verbosity=0",
        str(keep), str(targets.CORPUS / name),
    ]  # fmt: skip


def fuzz(name: str, found: Path, options: argparse.Namespace) -> int:
    """Fuzz one target in a process of its own; its exit status."""
    child = os.fork()
    if child == 0:
        mutator = {"custom_mutator": _MUTATORS[name]} if name in _MUTATORS else {}
        atheris.Setup(arguments(name, found, options), targets.TARGETS[name], **mutator)
        atheris.Fuzz()  # ends the process
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """All chosen targets, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target, not seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="neither use nor keep .cache/fuzz")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(targets.TARGETS):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(targets.TARGETS)}")
    targets.REGRESSIONS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(scratch) if options.fresh else FOUND
        names = options.targets or targets.TARGETS
        failed = [name for name in names if fuzz(name, found, options)]
    print(f"broken: {', '.join(failed)}" if failed else "nothing broke", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
