"""Run the benchmarks one after the other, each in a process of its own: tests/benchmarks/bench_*.py.

Usage: bench.py [NAME ...]   (bench_NAME.py; without a name all of them)
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "benchmarks"


def main(names: list[str]) -> int:
    """Print what each benchmark prints; 1 where one of them failed."""
    files = [FOLDER / f"bench_{name}.py" for name in names] or sorted(FOLDER.glob("bench_*.py"))
    unknown = [file.name for file in files if not file.is_file()]
    if unknown or not files:
        print(f"No benchmark {', '.join(unknown) or 'at all'} in {FOLDER.name}/.", file=sys.stderr)
        return 1
    failed = []
    for file in files:
        print(f"== {file.stem.removeprefix('bench_')}", flush=True)
        if subprocess.run([sys.executable, str(file)], check=False).returncode:
            failed.append(file.name)
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
