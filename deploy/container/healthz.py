"""Whether the worker in this container is well: the image's health check.

It is asked where it listens: over https where `metrics.certificate_file` is set (whose name is not
that of the loopback, so it is not held against it).
"""

import os
import ssl
import sys
import urllib.request

url = os.environ.get("STREAMFILTER_HEALTHZ", "http://127.0.0.1:9464/healthz")
try:
    urllib.request.urlopen(url, timeout=3, context=ssl._create_unverified_context()).close()
except OSError as error:
    sys.exit(f"{url}: {error}")
