"""What must be true of a machine for the local stack and the demo: each check says what it found, and what to type if it is wrong."""

import functools
import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pydantic import SecretStr

from infra.local.java import INSTALL_JAVA, INSTALL_MAVEN, OLDEST_JAVA, have_jars, java_program, java_version
from infra.local.ports import is_free
from infra.local.postgres import program
from infra.local.redis import redis_program
from infra.local.remembered import sockets_folder
from infra.local.services import StackUnavailable
from infra.settings import HOME, Settings

OLDEST_PYTHON = (3, 11)
INSTALL_FLITE = "apt-get install flite"
GIBIBYTE = 1 << 30
# Kafka's data, PostgreSQL's write-ahead log and a recording or two; below it brokers stop at unforeseen places.
_NEEDED_DISK_BYTES = 2 * GIBIBYTE
_NEEDED_MEMORY_BYTES = GIBIBYTE
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)[^\S\n]*(?P<marker>;.*)?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. A `wrong` one stops the product, a `doubtful` one may; `remedy` is what to type or to change."""

    about: str
    state: Literal["well", "doubtful", "wrong"]
    words: str
    remedy: str | None = None


async def look(settings: Settings) -> list[Finding]:
    """Look at everything, whatever was found before."""
    return [
        python_version(sys.version_info[:2]),
        packages(HOME / "requirements.lock"),
        *await kafka(settings),
        *others(settings),
        folder(settings.state_dir),
        disk(shutil.disk_usage(_existing(settings.state_dir)).free, settings.state_dir),
        memory(psutil.virtual_memory().available),
        *ports(settings),
    ]


def python_version(version: tuple[int, int]) -> Finding:
    """The interpreter that runs this."""
    words = ".".join(str(part) for part in version)
    if version < OLDEST_PYTHON:
        return Finding(about="python", state="wrong", words=f"Python {words} is too old", remedy="apt-get install python3.11 python3-venv")
    return Finding(about="python", state="well", words=f"Python {words}")


def packages(lock: Path) -> Finding:
    """Whether what is installed is what the lock file says."""
    if not lock.is_file():
        return Finding(about="packages", state="doubtful", words="there is no requirements.lock here to compare with")
    # A package may be pinned twice, for different Pythons, and one that is for other machines only is not missed.
    pinned: dict[str, set[str]] = {}
    everywhere: set[str] = set()
    for pin in _PIN.finditer(lock.read_text()):
        pinned.setdefault(pin["name"], set()).add(pin["version"])
        if not pin["marker"]:
            everywhere.add(pin["name"])
    differing = []
    for name, versions in pinned.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if found not in versions and (found or name in everywhere):
            differing.append(f"{name} is {found or 'missing'}, not {' or '.join(sorted(versions))}")
    if differing:
        shown = ", ".join(differing[:5]) + (" and more" if len(differing) > 5 else "")
        return Finding(about="packages", state="wrong", words=shown, remedy="make setup")
    return Finding(about="packages", state="well", words="as requirements.lock says")


async def kafka(settings: Settings) -> list[Finding]:
    """Java, and Kafka's jars or what fetches them."""
    if settings.kafka_bootstrap_servers is not None:
        return [Finding(about="kafka", state="well", words="given by the environment")]
    findings = []
    try:
        java = java_program()
        version = await java_version(java)
    except StackUnavailable as error:
        findings.append(Finding(about="java", state="wrong", words=str(error), remedy=INSTALL_JAVA))
    else:
        state: Literal["well", "wrong"] = "well" if version >= OLDEST_JAVA else "wrong"
        remedy = None if state == "well" else INSTALL_JAVA
        findings.append(Finding(about="java", state=state, words=f"{java} is Java {version}", remedy=remedy))
    if have_jars(settings.cache_dir):
        findings.append(Finding(about="kafka", state="well", words=f"its jars lie in {settings.cache_dir}"))
    elif shutil.which("mvn") is None:
        words = "its jars are not here yet, and Maven, which fetches them, is not installed"
        findings.append(Finding(about="kafka", state="wrong", words=words, remedy=INSTALL_MAVEN))
    else:
        findings.append(Finding(about="kafka", state="doubtful", words="its jars are not here yet; the first start fetches them"))
    return findings


def others(settings: Settings) -> Iterator[Finding]:
    """PostgreSQL's and Redis' programs, and the offline voice."""
    programs: tuple[tuple[str, SecretStr | None, Callable[[], Path], str], ...] = (
        ("postgres", settings.database_url, functools.partial(program, "postgres"), "make setup"),
        ("redis", settings.redis_url, redis_program, "apt-get install redis-server"),
    )
    for about, given, find, remedy in programs:
        if given is not None:
            yield Finding(about=about, state="well", words="given by the environment")
            continue
        try:
            yield Finding(about=about, state="well", words=str(find()))
        except StackUnavailable as error:
            yield Finding(about=about, state="wrong", words=str(error), remedy=remedy)
    if os.geteuid() == 0 and settings.database_url is None and shutil.which("setpriv") is None:
        words = "PostgreSQL refuses to run as root, and setpriv, which starts it as another user, is missing"
        yield Finding(about="setpriv", state="wrong", words=words, remedy="apt-get install util-linux")
    if settings.engines == "embedded":
        flite = shutil.which("flite")
        if flite is None:
            yield Finding(about="flite", state="wrong", words="the offline voice is not installed", remedy=INSTALL_FLITE)
        else:
            yield Finding(about="flite", state="well", words=flite)


def folder(state_dir: Path) -> Finding:
    """Whether state can be kept, and sockets made."""
    try:
        sockets_folder(state_dir)
    except StackUnavailable as error:
        return Finding(about="state", state="wrong", words=str(error), remedy="set AYBIZA_STATE_DIR to another folder")
    existing = _existing(state_dir)
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            about="state", state="wrong", words=f"{existing} cannot be written", remedy="set AYBIZA_STATE_DIR to a folder of yours"
        )
    return Finding(about="state", state="well", words=f"{state_dir}")


def disk(free_bytes: int, state_dir: Path) -> Finding:
    """Room for the log: it only grows."""
    words = f"{free_bytes / GIBIBYTE:.1f} GB free for {state_dir}"
    if free_bytes < _NEEDED_DISK_BYTES:
        needed = f"make room ({_NEEDED_DISK_BYTES // GIBIBYTE} GB), or set AYBIZA_STATE_DIR to a folder on another disk"
        return Finding(about="disk", state="wrong", words=words, remedy=needed)
    return Finding(about="disk", state="well", words=words)


def memory(available_bytes: int) -> Finding:
    """Room for the stack and one process of ours."""
    words = f"{available_bytes / GIBIBYTE:.1f} GB of memory available"
    if available_bytes < _NEEDED_MEMORY_BYTES:
        return Finding(about="memory", state="doubtful", words=words, remedy="end other programs: about 1 GB is needed")
    return Finding(about="memory", state="well", words=words)


def ports(settings: Settings) -> Iterator[Finding]:
    """The ports that the environment fixes. All others are chosen free."""
    fixed = {"AYBIZA_HTTP_PORT": settings.http_port, "AYBIZA_MEDIA_PORT": settings.media_port}
    for variable, port in fixed.items():
        if port is None:
            continue
        if is_free(port):
            yield Finding(about="ports", state="well", words=f"{port} ({variable}) is free")
        else:
            words = f"{port} ({variable}) is taken{_by_whom(port)}"
            yield Finding(about="ports", state="wrong", words=words, remedy=f"end that program, or set {variable} to another port")


def _by_whom(port: int) -> str:
    try:
        for held in psutil.net_connections("tcp"):
            if held.status == psutil.CONN_LISTEN and held.laddr and held.laddr.port == port and held.pid:
                return f" by process {held.pid} ({psutil.Process(held.pid).name()})"
    except psutil.Error:
        pass
    return ""


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
