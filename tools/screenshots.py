"""Run the demo and take the pictures of the README: docs/images/*.png (`make screenshots`)."""

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
CARBIDE = "91159901MA0EXAMP4N"
PAGES = {"overview": "/", "enterprise": f"/enterprises/{CARBIDE}", "alerts": "/alerts", "quarantine": "/quarantine"}
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    """Take each page once, with the history loaded and the replay running."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [Path(sys.executable).with_name("tcewatch"), "demo", "--no-browser", "--json", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo, sync_playwright() as play:
        assert demo.stderr is not None
        address = password = ""
        for line in demo.stderr:
            if found := re.search(r"(http://\S+)\s+user: \S+\s+password: (\S+)", line):
                address, password = found.groups()
            if "History loaded" in line:
                break
        try:
            browser = play.chromium.launch(executable_path=next(path for path in CHROMIUM if Path(path).exists()), args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1366, "height": 900})
            page.goto(address)
            page.fill("input[name=name]", "demo")
            page.fill("input[name=password]", password)
            page.press("input[name=password]", "Enter")
            page.wait_for_timeout(22_000)  # all planted events are in
            for name, path in PAGES.items():
                page.goto(address.rstrip("/") + path)
                page.wait_for_timeout(1500)
                page.screenshot(path=IMAGES / f"{name}.png")
                print(IMAGES / f"{name}.png")
            browser.close()
        finally:
            demo.terminate()


if __name__ == "__main__":
    main()
