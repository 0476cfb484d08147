"""Who may import whom: one table, held against the sources."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "streamfilter"

# room: rooms that it may import, in the order of the data.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "limits": set(),  # bounds on one message, which fits, schemas and decoders share
    "contaminants": set(),
    "posterior": set(),
    "redaction": set(),  # what is secret, and texts without it
    "logs": {"redaction"},
    "resources": set(),  # memory and cores
    "files": set(),  # written whole or not at all, and the folders that travel with the package
    "metrics": set(),  # one module per owner
    "records": {"errors", "redaction"},  # Rejected carries a Reason, and no secret
    "addresses": set(),  # which are of the open internet
    "outgoing": {"addresses", "errors"},  # calls over HTTPS, to whom they are allowed
    "pages": {"errors", "redaction"},  # pages of pictures, for alerts and exposures
    "headers": {"records"},  # of every output, and a rejected message as it came
    "fits": {"errors", "limits"},  # for stamps and frames
    "schemas": {"errors", "limits", "files", "redaction"},
    "inference": {"errors", "files"},
    "kafka": {"errors", "records"},
    "traces": {"records", "redaction"},  # the way of single alerts, as OpenTelemetry spans
    "config": {"contaminants", "errors", "limits", "records", "redaction"},
    "simulate": {"files", "records", "schemas"},
    "reading": {"config", "errors", "limits", "schemas"},  # what a consumer of ours calls
    "rejections": {"errors", "headers", "records"},  # the rejected topic, read back
    # The two halves know nothing of each other.
    "alerts": {
        "contaminants", "errors", "files", "fits", "headers", "inference", "limits", "pages",
        "posterior", "records", "schemas",
    },
    "exposures": {
        "contaminants", "errors", "fits", "inference", "outgoing", "pages", "posterior", "records",
        "redaction", "schemas",
    },
    "service": {
        "alerts", "config", "contaminants", "errors", "exposures", "files", "headers", "inference",
        "kafka", "limits", "metrics", "outgoing", "records", "redaction", "resources", "schemas",
        "traces",
    },
    "library": {  # what programs and notebooks call
        "alerts", "config", "contaminants", "errors", "exposures", "inference", "pages", "reading",
        "records", "schemas", "service",
    },
    # Archives of alerts to Parquet, and what is read off them.
    "archive": {
        "alerts", "config", "contaminants", "errors", "library", "pages", "records", "service",
    },
    "doctor": {  # is all here that a worker needs?
        "alerts", "config", "errors", "exposures", "inference", "kafka", "limits", "records",
        "redaction", "resources", "schemas", "service",
    },
    "console": {  # the live page: a consumer of the outputs, in a process of its own
        "alerts", "config", "contaminants", "errors", "files", "fits", "inference", "kafka",
        "metrics", "posterior", "reading", "records", "redaction", "rejections", "schemas",
        "service",
    },
    "demo": {
        "alerts", "config", "contaminants", "errors", "exposures", "files", "inference", "kafka",
        "reading", "records", "service", "simulate",
    },
    "cli": {
        "alerts", "archive", "config", "console", "contaminants", "demo", "doctor", "errors",
        "exposures", "files", "inference", "kafka", "limits", "logs", "metrics", "pages", "reading",
        "records", "redaction", "rejections", "schemas", "service", "simulate", "traces",
    },
    "__main__": {"cli"},
}  # fmt: skip

# The same inside of service/: parts are made in assembly and handed over, so nothing imports it.
SERVICE: dict[str, set[str]] = {
    "connections": set(),  # who is connected to the HTTP server, and for how long
    "logins": {"connections"},
    "http": {"connections", "logins"},
    "group_watch": set(),  # do all members have the same settings?
    "live": set(),  # which messages are of the night
    "rejecting": set(),  # the one place where an exception becomes a rejected message
    "schemas_awaited": set(),
    "delivery": set(),
    "member": {"delivery"},  # what both workers share of being a member of a group
    "alerts": {"delivery", "live", "member", "rejecting", "schemas_awaited"},
    "exposures": {"delivery", "live", "member", "rejecting", "schemas_awaited"},
    "assembly": {
        "alerts",
        "delivery",
        "exposures",
        "group_watch",
        "member",
        "schemas_awaited",
    },
}


def room_of(module: Path) -> str:
    """The room that a source file belongs to."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    """Every module but the package's root, which only exports."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@cache
def tree(module: Path) -> ast.Module:
    """A module's syntax, parsed once."""
    return ast.parse(module.read_text())


def imported_rooms(module: Path) -> Iterator[str]:
    """Rooms that a module names in any import, also inside functions."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "streamfilter":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            yield from (n.split(".")[1] for n in names if n.startswith("streamfilter."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (n.split(".")[1] for n in names if n.startswith("streamfilter."))


def imported_from(room: str, module: Path) -> Iterator[str]:
    """Parts of a room that a module names in any import."""
    package = f"streamfilter.{room}"
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            yield str(node.module).split(".")[2]


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_the_rooms_that_its_row_allows(module: Path) -> None:
    """Every import between rooms stands in the table."""
    room = room_of(module)
    assert room in ROOMS, f"{room} is a new room: give it a row, that row is the design review"
    assert set() == set(imported_rooms(module)) - ROOMS[room] - {room}


@pytest.mark.parametrize("table", [ROOMS, SERVICE], ids=["package", "service"])
def test_a_table_has_no_cycle(table: dict[str, set[str]]) -> None:
    """Rooms can be put in an order in which each imports only what stands before it."""
    assert set(table) == set(TopologicalSorter(table).static_order())


def test_inside_the_service_the_second_table_holds_and_allows_nothing_unused() -> None:
    """Assembly makes the workers, and nothing in the service imports it."""
    used: dict[str, set[str]] = {room: set() for room in SERVICE}
    for module in sorted((PACKAGE / "service").rglob("*.py")):
        parts = module.relative_to(PACKAGE / "service").parts
        room = parts[0].removesuffix(".py")
        if room != "__init__":
            used[room] |= {each for each in imported_from("service", module) if each != room}
    assert used == SERVICE


def test_the_table_allows_nothing_that_is_not_used() -> None:
    """A row that is too wide hides the next import."""
    used: dict[str, set[str]] = {}
    for module in sources():
        used.setdefault(room_of(module), set()).update(imported_rooms(module))
    unused = {room: allowed - used.get(room, set()) for room, allowed in ROOMS.items()}
    assert {} == {room: found for room, found in unused.items() if found}
    assert set(ROOMS) == set(used)


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_over_500_lines(module: Path) -> None:
    """A newcomer can read a module in one sitting."""
    assert len(module.read_text().splitlines()) <= 500


@pytest.mark.parametrize("module", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_is_over_60_lines(module: Path) -> None:
    """A function fits on a screen; parts that deserve a name become functions."""
    assert [] == [
        f"{node.name}, line {node.lineno}"
        for node in ast.walk(tree(module))
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
    """Operations of a module that could execute the data it reads."""
    for node in ast.walk(tree(module)):
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
