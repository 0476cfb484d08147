"""Who may import whom: one table, held against the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "streamfilter"

# room: (layer, rooms it may import). The order is that of the data.
ROOMS: dict[str, tuple[int, set[str]]] = {
    "errors": (0, set()),
    "limits": (0, set()),  # bounds on one message, which fits, schemas and decode share
    "bundled": (0, set()),  # where the folders that travel with the package are
    "contaminants": (0, set()),
    "capacity": (0, set()),  # how many workers a survey needs
    "files": (0, set()),  # written whole or not at all: engines and schemas
    "metrics": (0, set()),
    "process_metrics": (0, set()),  # its configuration and its traces
    "logs": (0, set()),
    "pages": (1, {"errors"}),  # pages of pictures, for alerts and exposures
    "records": (1, {"errors"}),  # errors: Rejected carries a Reason
    "schemas": (1, {"errors", "limits", "bundled", "files"}),
    "compressed_tiles": (0, set()),  # what tiles may unpack to, for stamps and frames
    "fits_headers": (0, set()),  # what headers announce, for stamps and frames
    "fits": (1, {"fits_headers", "compressed_tiles", "errors", "limits"}),
    "inference": (1, {"errors", "bundled", "files"}),
    "posterior": (1, set()),
    "config": (2, {"errors", "limits", "contaminants", "records"}),
    "surveys": (2, {
        "errors", "records", "fits", "limits", "bundled", "contaminants",
        "placement",  # where its stamps hold the alert
    }),
    "placement": (1, {"records"}),  # where the alert lies in a stamp: three rooms must agree
    "normalise": (2, {"records", "placement"}),
    "batch": (2, set()),
    "verdict": (2, {"contaminants", "records", "posterior", "placement"}),
    "rules": (3, {"contaminants", "records", "verdict"}),  # default policies, as data
    "encode": (3, {"errors", "records", "schemas", "contaminants"}),
    "kafka": (2, {"errors", "records"}),
    "exposure_records": (1, {"records"}),  # the exposure half's values
    "background": (2, {"exposure_records", "records"}),
    "tiles": (2, {"exposure_records", "records"}),
    "shapes": (2, {"exposure_records", "records"}),
    "detector_images": (1, {"fits_headers"}),  # which images of a file are detectors'
    "frames": (
        2, {"detector_images", "fits_headers", "compressed_tiles", "exposure_records", "records"}
    ),
    "tracking": (2, {"exposure_records", "posterior"}),
    "frame_paths": (3, {"frames"}),
    "readout": (3, {"exposure_records", "frames"}),  # headers of files to announcements
    "focal_plane": (2, {"exposure_records", "records"}),  # detectors to exposures as they come
    "decode_exposure": (3, {"errors", "exposure_records", "records", "schemas"}),
    "encode_exposure": (3, {"exposure_records", "schemas"}),  # what a telescope's readout writes
    "encode_tracking": (3, {"exposure_records", "records", "schemas"}),
    "outgoing": (2, {"errors"}),  # calls over HTTPS, to whom they are allowed
    "webhook": (2, {"exposure_records"}),  # what is told of exposures, and its signature
    "frame_references": (3, {"errors", "exposure_records", "outgoing"}),
    "exposures": (4, {
        "background", "exposure_records", "inference", "records", "shapes", "tiles", "tracking",
    }),
    "masking": (4, {
        "contaminants", "inference", "posterior", "records",
    }),
    "mask_files": (5, {"contaminants", "masking"}),  # masks as FITS: cli and stream
    "exposure_figures": (5, {"exposure_records", "exposures", "records", "errors", "pages"}),
    "reading": (3, {"errors", "limits", "schemas"}),  # what a consumer of ours calls
    "drift": (3, {"errors", "schemas", "surveys"}),  # what changed between writer schemas
    "field_plan": (3, {"drift", "errors", "surveys"}),  # what a map gets of a writer schema
    "decode": (3, {"field_plan", "drift", "errors", "records", "schemas", "surveys", "limits"}),
    "simulate": (3, {"records", "schemas", "bundled"}),
    "pipeline": (
        4,
        {
            "records", "decode", "normalise", "batch", "verdict",
            "inference", "placement",
            "drift", "field_plan",
            "schemas",  # under which key an alert's schema is asked for
        },
    ),
    "traces": (2, {"records"}),  # the way of single alerts, as OpenTelemetry spans
    "service": (
        5,
        {
            "drift", "errors", "field_plan", "records", "pipeline", "kafka", "config", "metrics",
            "inference", "schemas", "surveys", "decode", "encode", "batch", "verdict",
            "rules", "normalise", "limits",
            "exposure_records", "exposures", "decode_exposure", "encode_tracking", "frames",
            "frame_references", "focal_plane", "tracking", "tiles",
            "exposure_figures", "outgoing", "process_metrics", "traces", "webhook",
            "background", "contaminants", "files", "mask_files", "masking",
        },
    ),
    "doctor": (6, {  # is all here that a worker needs?
        "config", "decode", "decode_exposure", "drift", "errors", "field_plan", "inference",
        "kafka", "limits", "normalise", "records", "schemas", "service", "surveys",
    }),
    "packets": (2, {"errors", "schemas", "limits"}),  # alerts in files: replay, inspect
    "figures": (5, {
        "errors", "records", "contaminants", "pipeline", "posterior", "inference", "normalise",
        "pages",
    }),
    "demo": (6, {
        "errors", "records", "config", "service", "simulate", "kafka",
        "reading", "bundled", "figures",
    }),
    "demo_exposures": (7, {
        "config", "demo", "encode_exposure", "encode_tracking", "errors", "exposure_figures",
        "exposures", "frames", "inference", "kafka", "reading", "readout", "records", "service",
        "simulate",
    }),
    "rejections": (4, {"errors", "records", "encode"}),  # the rejected topic, read back
    "__main__": (9, {"cli"}),
    "cli": (8, {
        "reading",
        "errors", "records", "config", "logs", "service", "inference", "schemas",
        "capacity", "demo", "demo_exposures", "doctor", "simulate",
        "field_plan", "figures", "packets", "pipeline", "decode", "kafka", "limits", "contaminants",
        "surveys", "exposure_records", "exposures",
        "background", "exposure_figures", "frame_paths", "frames", "masking", "mask_files",
        "tracking", "readout", "encode_exposure", "encode_tracking", "rejections", "metrics",
        "process_metrics", "traces",
    }),
}  # fmt: skip


def room_of(module: Path) -> str:
    """The room that a source file belongs to."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    """Every module but the package's root, which only exports."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def imported_rooms(module: Path) -> Iterator[str]:
    """Rooms that a module names in any import, also inside functions."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "streamfilter":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            yield from (n.split(".")[1] for n in names if n.startswith("streamfilter."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (n.split(".")[1] for n in names if n.startswith("streamfilter."))


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_the_rooms_that_its_row_allows(module: Path) -> None:
    """Every import between rooms stands in the table."""
    room = room_of(module)
    assert room in ROOMS, f"{room} is a new room: give it a row, that row is the design review"
    assert set() == set(imported_rooms(module)) - ROOMS[room][1] - {room}


def test_the_table_has_no_cycle() -> None:
    """A room imports only rooms of its own layer or lower, and no two import each other."""
    for room, (layer, allowed) in ROOMS.items():
        for other in allowed:
            assert ROOMS[other][0] <= layer, f"{room} reaches up to {other}"
            assert room not in ROOMS[other][1], f"{room} and {other} import each other"


def test_the_table_allows_nothing_that_is_not_used() -> None:
    """A row that is too wide hides the next import."""
    used: dict[str, set[str]] = {}
    for module in sources():
        used.setdefault(room_of(module), set()).update(imported_rooms(module))
    unused = {room: allowed - used.get(room, set()) for room, (_, allowed) in ROOMS.items()}
    assert {} == {room: found for room, found in unused.items() if found}
    assert set(ROOMS) == set(used)


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_over_500_lines(module: Path) -> None:
    """A newcomer can read a module in one sitting."""
    assert len(module.read_text().splitlines()) <= 500


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_is_over_60_lines(module: Path) -> None:
    """Nor in one look; pieces that have a name of their own are taken out."""
    assert [] == [
        f"{node.name}, line {node.lineno}"
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= 60
    ]


# Each makes code of bytes, or reads a format that does.
FORBIDDEN = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop"),
    *("yaml", "torch", "runpy"),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
FORBIDDEN_METHODS = {("os", "system"), ("os", "popen"), ("yaml", "load")}


def dangers(module: Path) -> Iterator[str]:
    """What a module does that could run what it reads."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            yield from (name for name in names if name.partition(".")[0] in FORBIDDEN)
        if not isinstance(node, ast.Call):
            continue
        keywords = {each.arg: ast.unparse(each.value) for each in node.keywords}
        called = ast.unparse(node.func)
        if called in FORBIDDEN_CALLS or tuple(called.rsplit(".", 1)) in FORBIDDEN_METHODS:
            yield f"{called}()"
        if called in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
            yield f"{called}() without allow_pickle=False"
        if keywords.get("shell", "False") != "False":
            yield f"{called}(shell=...)"


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(module: Path) -> None:
    """No pickle, no evaluation, no shell: data stay data, configuration too."""
    assert [] == list(dangers(module))


def test_dangers_are_seen(tmp_path: Path) -> None:
    """The test above looks where it should."""
    source = (
        "import pickle\nfrom marshal import loads\neval('1')\nnp.load('x')\nrun('x', shell=True)"
    )
    (tmp_path / "bad.py").write_text(source)
    assert 5 == len(list(dangers(tmp_path / "bad.py")))
