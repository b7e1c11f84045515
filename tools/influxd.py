"""Build InfluxDB 2 from its published source into the cache, for tests and benchmarks; Debian has no package of it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/influxdata/influxdb/v2@v2.9.1"
# Its build asks pkg-config for the Rust library libflux; this wrapper builds that library when asked.
PKG_CONFIG = "github.com/influxdata/pkg-config@v0.3.0"
GO_AT_LEAST = (1, 25)


def main() -> int:
    """Build, unless the cache has it; 1 with a sentence for each thing that is missing."""
    target = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tcewatch" / "influxd"
    if target.is_file():
        print(f"influxd is there already: {target}")
        return 0
    if missing := _missing():
        print("influxd cannot be built here:\n  " + "\n  ".join(missing), file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    print("Building influxd from source; this takes some minutes ...", flush=True)
    try:
        _build(target)
    except subprocess.CalledProcessError as error:
        said = error.stderr or error.stdout or ""
        print(f"{' '.join(map(str, error.cmd[:3]))} failed with {error.returncode}. It said:\n{said[-3000:]}", file=sys.stderr)
        return 1
    print(f"influxd is built: {target}")
    return 0


def _missing() -> list[str]:
    missing = []
    if go := shutil.which("go"):
        version = re.search(r"go(\d+)\.(\d+)", _output(go, "version"))
        if version is None or tuple(map(int, version.groups())) < GO_AT_LEAST:
            here = version.group() if version else "an unknown version"
            missing.append(f"Go {GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} or later is needed; here is {here}.")
    else:
        missing.append(f"Go {GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} or later is not on PATH.")
    missing += [f"{name} is not on PATH ({why})." for name, why in (("cargo", "Rust"), ("cc", "a C compiler")) if shutil.which(name) is None]
    return missing


def _build(target: Path) -> None:
    environment = dict(os.environ, CGO_ENABLED="1", RUSTFLAGS="--cap-lints=allow")
    if shutil.which("rustup"):
        # The source asks for one exact Rust release; the installed one does, and nothing further is fetched.
        environment.setdefault("RUSTUP_TOOLCHAIN", _output("rustup", "show", "active-toolchain").split()[0])
    with tempfile.TemporaryDirectory(prefix="influxd-", dir=target.parent) as work:
        tools, source = Path(work) / "bin", Path(work) / "source"
        _run(["go", "install", PKG_CONFIG], env=environment | {"GOBIN": str(tools)})
        fetched = json.loads(_run(["go", "mod", "download", "-json", MODULE], env=environment))
        shutil.copytree(fetched["Dir"], source)
        for path in [source, *source.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)  # the module cache is read-only, the build writes beside the source
        built = Path(work) / "influxd"
        _run(
            ["go", "build", "-tags", "sqlite_foreign_keys,sqlite_json", "-ldflags", "-s -w", "-o", built, "./cmd/influxd"],
            env=environment | {"PKG_CONFIG": str(tools / "pkg-config")}, cwd=source,
        )
        built.rename(target)


def _run(command: list[str | Path], *, env: dict[str, str], cwd: Path | None = None) -> str:
    return subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
