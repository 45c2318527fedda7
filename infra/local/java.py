"""The Java that runs Kafka, and Kafka's own jars, fetched once by Maven."""

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path

from infra.local.programs import ProgramFailed, run
from infra.local.services import Progress, StackUnavailable

OLDEST_JAVA = 17
_POM = Path(__file__).parent / "jars" / "pom.xml"
_STAMP = "complete"
INSTALL_JAVA = "apt-get install openjdk-17-jre-headless"
INSTALL_MAVEN = "apt-get install maven"


def java_program() -> Path:
    """JAVA_HOME's Java, else the one on the path. Raises StackUnavailable."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return Path(home) / "bin" / "java"
    found = shutil.which("java")
    if found is None:
        raise StackUnavailable(f"Kafka needs Java {OLDEST_JAVA} or later, and there is none. Type: {INSTALL_JAVA}")
    return Path(found)


async def java_version(java: Path) -> int:
    """The major version. Raises StackUnavailable when the program does not say one."""
    try:
        words = await run([str(java), "-version"], what="java -version")
    except ProgramFailed as error:
        raise StackUnavailable(f"{error}. Type: {INSTALL_JAVA}") from error
    said = re.search(r'version "(?:1\.)?(\d+)', words)
    if said is None:
        raise StackUnavailable(f"{java} does not say which Java it is. Type: {INSTALL_JAVA}")
    return int(said.group(1))


def jars_folder(cache_dir: Path) -> Path:
    """Where the jars of this very pom lie or will lie."""
    return cache_dir / f"kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"


def have_jars(cache_dir: Path) -> bool:
    """Whether a fetch of this pom has been completed."""
    return (jars_folder(cache_dir) / _STAMP).is_file()


async def ensure_jars(cache_dir: Path, progress: Progress) -> Path:
    """Fetch Kafka's jars unless they are there. A fetch that is broken off leaves nothing that could be taken for whole.

    Raises StackUnavailable when Maven is missing or fails.
    """
    folder = jars_folder(cache_dir)
    if have_jars(cache_dir):
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise StackUnavailable(f"Kafka is fetched by Maven, and there is none. Type: {INSTALL_MAVEN}")
    progress("kafka", "fetching its jars with Maven (about 45 MB, once)")
    partial = cache_dir / f"kafka-fetch-{uuid.uuid4().hex}"
    command = [maven, "-B", "-q", "-Dstyle.color=never", "-f", str(_POM), f"-Djars.folder={partial}", "dependency:copy-dependencies"]
    try:
        await run(command, what="Maven")
        (partial / _STAMP).touch()
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except ProgramFailed as error:
        # Maven says first what is wrong, and last where its manual is.
        first = next((line for line in error.said.splitlines() if line.startswith("[ERROR]")), str(error))
        raise StackUnavailable(f"Kafka's jars could not be fetched. Maven says: {first}") from error
    except OSError as error:
        raise StackUnavailable(f"Kafka's jars could not be kept: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
