"""Run a command as tier ``check`` must run: no network, no cache, no program but Python's own.

    python tests/alone.py COMMAND ARGUMENTS

What a test forgets to ask for is then not there, wherever it runs. ``HOME`` and the caches are an
empty folder, ``PATH`` is this Python's own folder, and where the kernel lets us, the network is a
new one with nothing in it but loopback.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# Of linux/sched.h, linux/sockios.h and linux/if.h.
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
# What would lead to weights, a broker or a cache past HOME and PATH.
_LEFT_OUT = (
    "STREAMFILTER_HOME", "STREAMFILTER_TEST_BOOTSTRAP", "JAVA_HOME", "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME",
)  # fmt: skip


def environment(home: str, given: Mapping[str, str]) -> dict[str, str]:
    """The variables of the command: what was given, without all that leads elsewhere."""
    kept = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    return {**kept, "HOME": home, "PATH": str(Path(sys.executable).parent)}


def leave_the_network() -> bool:
    """Put this process into a network of its own with loopback alone; False where that may not be.

    A child tries it first: where it fails half way, it leaves a network without even loopback.
    """
    if not sys.platform.startswith("linux"):
        return False
    child = os.fork()
    if child == 0:
        try:
            _leave()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        return False
    _leave()
    return True


def _leave() -> None:
    """Who is not root needs a user of its own for that, who stays the same user by number."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK) != 0:
        if libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH14s", b"lo", 0, b"")
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _GET_FLAGS, asked), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14s", b"lo", flags | _UP, b""))


def main(command: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    if not leave_the_network():
        print("alone: no network of its own here; the guard of the tests watches", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="alone-") as home:
        return subprocess.run(command, env=environment(home, os.environ), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
