#!/bin/sh
# The least rights of a worker and of `streamfilter rejected`, for brokers with ACLs.
#   BOOTSTRAP=broker:9092 PRINCIPAL=User:streamfilter sh deploy/kafka-acls.sh [kafka-acls.sh's own options]
# Names are those of deploy/streamfilter.toml; leave out what you switch off. No right on the cluster,
# none to create topics: `streamfilter topics create` is run by whoever may.
set -eu
allow() { kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --add --allow-principal "$PRINCIPAL" "$@"; }

# A worker: what it reads, its groups, what it writes.
allow --operation Read --topic alerts
allow --operation Read --group streamfilter
allow --operation Write --topic streamfilter.annotations
allow --operation Write --topic streamfilter.rejected
# Where a name in [outputs] has {survey}, the right to each: outputs.enriched = "site-{survey}-enriched"
# allow --operation Write --topic site-ztf-enriched
# allow --operation Write --topic site-lsst-enriched

# Exposures, where they are watched.
allow --operation Read --topic exposures
allow --operation Read --group streamfilter-exposures
allow --operation Write --topic streamfilter.tracking
# Also read it, for detectors that come late, after a restart.
allow --operation Read --topic streamfilter.tracking

# Contaminants of whole frames, where they are searched.
# allow --operation Read --group streamfilter-contaminants
# allow --operation Write --topic streamfilter.contaminants
# allow --operation Read --topic streamfilter.contaminants

# With delivery.guarantee = "exactly-once": names of transactions begin with the consumer group's.
# allow --operation Write --transactional-id streamfilter- --resource-pattern-type prefixed
# allow --operation Write --transactional-id streamfilter-exposures- --resource-pattern-type prefixed

# People who look at rejected messages and replay them; not the worker.
# allow --operation Read --topic streamfilter.rejected
# allow --operation Write --topic alerts

# So that `streamfilter doctor` can hold the largest message that outputs take against what comes.
# allow --operation DescribeConfigs --topic streamfilter.rejected
