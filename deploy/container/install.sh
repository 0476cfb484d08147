#!/bin/sh
# The steps of the images, in one place: sh install.sh STEP ARGUMENTS, in the folder of the checkout.
#   dependencies VARIANT EXTRAS   what pyproject.toml names, into $PREFIX, in the versions that dev.txt locks;
#                                 cpu and gpu add their runtime
#   package                       the wheel of the checkout, into ./dist
#   engines NAMES                 networks of the authors' release, into $PREFIX/engines; "": none
set -eu
PREFIX=${PREFIX:-/opt/streamfilter}
PIP="$PREFIX/bin/python -m pip --quiet --disable-pip-version-check"

dependencies() {
    case $1 in
        cpu) extras=$2,openvino base= ;;
        # TensorRT is the base image's: its bindings fit its libraries, those of an index may not.
        gpu) extras=$2,tensorrt base=tensorrt ;;
        *) echo "VARIANT: $1 is neither cpu nor gpu" >&2 && exit 2 ;;
    esac
    python3 -m venv ${base:+--system-site-packages} "$PREFIX"
    "$PREFIX/bin/python" - "$extras" "$base" > requirements.txt <<'PYTHON'
import re, sys, tomllib
chosen, there = [name for name in sys.argv[1].split(",") if name], sys.argv[2]
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
if unknown := [name for name in chosen if name not in extras]:
    sys.exit(f"EXTRAS: no extra {unknown[0]!r} in pyproject.toml; there are {', '.join(extras)}")
lines = project["dependencies"] + [line for name in chosen for line in extras[name]]
print(*(line for line in lines if re.match(r"[\w-]+", line)[0] != there), sep="\n")
PYTHON
    # Without hashes, which pip takes for what is named itself alone: EXTRAS may choose what is not locked.
    sed -e '/--hash=/d' -e 's/ \\$//' dev.txt > constraints.txt
    $PIP install -r requirements.txt -c constraints.txt
}

package() {
    $PIP wheel --no-deps --wheel-dir dist .
}

engines() {
    mkdir -p "$PREFIX/engines"
    for name in $1; do
        STREAMFILTER_HOME="$PREFIX" "$PREFIX/bin/python" -m streamfilter engines fetch "$name"
    done
}

step=$1
shift
"$step" "$@"
