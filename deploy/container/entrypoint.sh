#!/bin/sh
# The image's engines are linked into STREAMFILTER_HOME, which is a volume: plans, and schemas that a
# registry gave, are kept there. Files that somebody put there are left as they are.
set -eu
for file in /opt/streamfilter/engines/*/*; do
    place="$STREAMFILTER_HOME/engines/${file#/opt/streamfilter/engines/}"
    if [ -f "$file" ] && [ ! -e "$place" ]; then
        mkdir -p "${place%/*}"
        ln -sf "$file" "$place"
    fi
done
exec streamfilter "$@"
