"""Refuse tracked files that name a package registry or a folder of one person's machine."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    # Written with gaps, so that this file names none itself.
    "a package registry": re.compile(
        r"https?://[^\s\"']*/[s]imple(?:/|\b)|--(?:extra-)?[i]ndex-url|\"[r]esolved\": *\"http|[p]ypi\.org|[p]ythonhosted\.org|registry\.[n]pmjs"
    ),
    "a folder of one machine": re.compile(r"(?<![A-Za-z0-9_.$}/])/(?:work|root|home/[a-z]|Users/[A-Za-z])/"),
}
OWN = Path(__file__).resolve().relative_to(ROOT)


def findings(root: Path) -> list[str]:
    """One sentence for each line of a tracked text file that names what it must not."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True).stdout.decode().split("\0")
    found = []
    for name in filter(None, listed):
        if Path(name) == OWN or not (root / name).is_file():
            continue
        content = (root / name).read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            found += [f"{name}:{number} names {what}" for what, pattern in FORBIDDEN.items() if pattern.search(line)]
    return found


def main() -> int:
    """Print the findings; 1 where there are some."""
    found = findings(ROOT)
    if found:
        print("\n".join(found))
        return 1
    print("No registry host and no machine path in tracked files.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
