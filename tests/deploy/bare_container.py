"""A container file's steps without a container engine: each RUN and COPY in a root of its own.

A stage is an overlay on this machine's root, with this Python in the place of the base image's at
``/usr/local``, and home folders and the checkout out of sight. The final stage is started as an
engine would: as its user, without privileges, on a root that cannot be written to.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from container_file import ROOT, Stage, Step, context, filled, stages, steps

_BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HIDDEN = ("/home", "/root", "/tmp", "/work")
# A wheel of 50 MB on a slow line; and the end of a worker at SIGTERM, as orchestrators wait.
STEP_S, STOP_S = 900.0, 30.0


class Build:
    """The stages of a container file that its last one needs, carried out."""

    def __init__(self, file: Path, scratch: Path, arguments: Mapping[str, str]) -> None:
        self._scratch = scratch
        self._arguments = arguments
        self._files = [path for path in context() if (ROOT / path).is_file()]
        declared = [each for each in steps(file.read_text()) if each.word == "ARG"]
        # Those before the first FROM lend their defaults to stages that name them.
        self._defaults = dict(each.rest.split("=", 1) for each in declared if "=" in each.rest)
        self._stages = {each.name: each for each in stages(file.read_text(), arguments)}
        self.image = self._made("")

    def _made(self, name: str) -> Stage:
        stage = self._stages[name]
        if stage.layer.is_absolute():
            return stage
        folder = self._scratch / (name or "final")
        stage.layer, stage.environment = folder / "upper", {"PATH": _BASE_PATH}
        for each in ("upper", "work", "root"):
            (folder / each).mkdir(parents=True)
        if stage.base in self._stages:
            base = self._made(stage.base)
            stage.environment, stage.folder = dict(base.environment), base.folder
            # The kernel lays no second overlay of this root over the first.
            subprocess.run(("cp", "-a", f"{base.layer}/.", stage.layer), check=True)
        variables = dict[str, str]()
        for step in stage.steps:
            self._carry_out(stage, step, variables)
        return stage

    def _carry_out(self, stage: Stage, step: Step, variables: dict[str, str]) -> None:
        known = {**variables, **stage.environment}
        match step.word:
            case "ARG":
                name, _, default = step.rest.partition("=")
                given = self._arguments.get(name, default or self._defaults.get(name, ""))
                variables[name] = given.strip('"')
            case "ENV":
                for text in shlex.split(step.rest):
                    name, _, value = text.partition("=")
                    stage.environment[name] = filled(value, known)
            case "WORKDIR":
                stage.folder = step.rest
                (stage.layer / step.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(stage, step.rest)
            case "RUN":
                self._run(stage, step.rest, known)
            case _:
                stage.said[step.word] = step.rest

    def _copy(self, stage: Stage, rest: str) -> None:
        options = dict(re.findall(r"--(\w+)=(\S+)", rest))
        *sources, target = re.sub(r"--\w+=\S+\s*", "", rest).split()
        place = stage.layer / Path(stage.folder, target).as_posix().lstrip("/")
        if "from" in options:
            (source,) = sources
            made = self._made(options["from"]).layer / source.lstrip("/")
            shutil.copytree(made, place, symlinks=True, dirs_exist_ok=True)
            return
        for source in sources:
            inside = [
                each for each in self._files if each == source or each.startswith(f"{source}/")
            ]
            assert inside, f"COPY {source}: not in the checkout, or .dockerignore keeps it out"
            for each in inside:
                end = target.endswith("/")
                to = place / Path(each).name if end else place / Path(each).relative_to(source)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / each, to)
                to.chmod(int(options.get("chmod", "0644"), 8))

    def _run(self, stage: Stage, rest: str, known: Mapping[str, str]) -> None:
        mounts = []
        for text in re.findall(r"--mount=(\S+)", rest):
            asked = dict(each.split("=", 1) for each in text.split(","))
            mounts.append((str(self._mount(asked)), asked["target"]))
        command = re.sub(r"--mount=\S+\s*", "", rest)
        # How this machine reaches the index of packages is no matter of the image.
        ways = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        script = f"cd {shlex.quote(stage.folder)} && {command}"
        done = subprocess.run(
            inside(stage, ("/bin/sh", "-c", script), {**ways, **known}, mounts=mounts),
            capture_output=True, text=True, timeout=STEP_S,
        )  # fmt: skip
        assert done.returncode == 0, f"RUN {rest}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _mount(self, asked: Mapping[str, str]) -> Path:
        if asked["type"] == "bind":
            return self._made(asked["from"]).layer / asked["source"].lstrip("/")
        cache = Path.home() / ".cache" / "pip"
        cache.mkdir(parents=True, exist_ok=True)
        return cache


def inside(
    stage: Stage,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    mounts: Sequence[tuple[str, str]] = (),
    frozen: bool = False,
    network: bool = True,
) -> list[str]:
    """The command that runs another in a stage's root.

    ``frozen``: the root cannot be written to, but for ``mounts`` and a small ``/tmp``, and the
    command has the stage's user and no capability.
    """
    root = stage.layer.parent / "root"
    work = stage.layer.parent / "work"
    lines = [
        "set -e",
        f"mount -t overlay overlay -o lowerdir=/,upperdir={stage.layer},workdir={work} {root}",
        *(
            f"mount -t tmpfs -o mode=755 none {root}{each}"
            for each in _HIDDEN
            if Path(each).is_dir()
        ),
        # At its own place too: there it looks for its library.
        *(
            f"mkdir -p {root}{to} && mount --bind {sys.base_prefix} {root}{to} "
            f"&& mount -o remount,bind,ro {root}{to}"
            for to in ("/usr/local", sys.base_prefix)
        ),
        f"mount -o remount,mode=1777{',noexec,size=64m' if frozen else ''} {root}/tmp",
        *(f"mount --rbind /{each} {root}/{each}" for each in ("proc", "dev", "sys")),
        *(
            f"mkdir -p {root}{to} && mount --bind {shlex.quote(source)} {root}{to}"
            for source, to in mounts
        ),
    ]
    way = ["chroot", str(root), "env", "-i", *(f"{k}={v}" for k, v in environment.items())]
    if frozen:
        lines.append(f"mount -o remount,ro {root}")
        user, _, group = stage.said["USER"].partition(":")
        way += ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        way += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    lines.append("exec " + shlex.join([*way, *command]))
    apart = ["unshare", "--mount", "--propagation", "private", *(() if network else ("--net",))]
    return [*apart, "/bin/sh", "-c", "\n".join(lines)]


def trial(scratch: Path) -> list[str]:
    """A command that succeeds where stages can be made."""
    stage = Stage("", "", layer=scratch / "trial" / "upper")
    for each in ("upper", "work", "root"):
        (stage.layer.parent / each).mkdir(parents=True)
    return inside(stage, ("true",), {"PATH": _BASE_PATH})


class Container:
    """The image's entry point, started; its output is kept in a file."""

    def __init__(
        self,
        image: Stage,
        log: Path,
        volumes: Mapping[Path, str],
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        network: bool = True,
    ) -> None:
        self.log = log
        self._image = image
        entry = json.loads(image.said["ENTRYPOINT"])
        command = [*entry, *(arguments or json.loads(image.said["CMD"]))]
        mounts = [(str(source), to) for source, to in volumes.items()]
        everything = {**image.environment, **environment}
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                inside(
                    image, command, everything, mounts=mounts, frozen=True, network=network
                ),
                stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the first, as ``docker exec`` does."""
        user, _, group = self._image.said["USER"].partition(":")
        way = ["nsenter", f"--target={self.process.pid}", "--mount", "--root", "env", "-i"]
        way += [f"{k}={v}" for k, v in self._image.environment.items()]
        way += ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return subprocess.run([*way, *command], capture_output=True, text=True, timeout=60)

    def well(self) -> bool:
        """What the image's HEALTHCHECK says."""
        _, _, check = self._image.said["HEALTHCHECK"].partition("CMD ")
        return self.execute(*json.loads(check)).returncode == 0

    def facts(self) -> dict[str, str]:
        """The kernel's own words on the process: users, capabilities."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def stop(self) -> int:
        """The image's signal to stop; the exit code."""
        self.process.send_signal(signal.Signals[self._image.said["STOPSIGNAL"]])
        return self.process.wait(STOP_S)
