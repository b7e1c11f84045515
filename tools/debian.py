"""Install Debian packages where that needs no question; otherwise say what is missing and go on.

Usage: debian.py PACKAGE ...
"""

import os
import shutil
import subprocess
import sys


def main(wanted: list[str]) -> int:
    """Install what is missing; the exit code is always 0, since the tests skip what they cannot have."""
    if shutil.which("dpkg-query") is None:
        print(f"No Debian packages here: tests that need one of {', '.join(wanted)} are skipped unless it is on PATH.")
        return 0
    missing = [package for package in wanted if not _installed(package)]
    if not missing:
        return 0
    prefix = _root()
    if prefix is None:
        print(f"Not installed: {', '.join(missing)} (neither root nor sudo without a password). Tests that need them are skipped.")
        return 0
    print(f"Installing the Debian packages {', '.join(missing)} ...", flush=True)
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    # One by one: a package that this release lacks does not keep the others away.
    for step in (["update"], *(["install", "-y", "--no-install-recommends", package] for package in missing)):
        done = subprocess.run([*command, *step], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            print(f"apt-get {' '.join(step)} failed; tests that need it are skipped. It said:\n{done.stdout[-1000:]}")
    return 0


def _installed(package: str) -> bool:
    status = subprocess.run(["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False)
    return status.stdout == "install ok installed"


def _root() -> list[str] | None:
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["sudo", "-n"]
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
