"""Find a Chromium for the tests, or install one; run as a script by the Makefile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Off the screen, in containers, and with little shared memory.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# Two parts of the address bar, which every page loads anew: that takes twice the time of opening
# it. The others are Playwright's own list, whose place this one takes.
_UNUSED = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades"),
    *("LensOverlay", "MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints"),
    *("PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning"),
)
FLAGS.append(f"--disable-features={','.join(_UNUSED)}")
PLAYWRIGHT = [sys.executable, "-m", "playwright", "install", "chromium"]
APT = ["chromium", "fonts-dejavu-core", "fonts-noto-color-emoji"]


def candidates() -> list[str]:
    """Executables worth trying: those on the path, then Playwright's own."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return [*found, own] if Path(own).exists() else found


def works(executable: str) -> bool:
    """Whether it starts and opens a page; on Ubuntu ``chromium-browser`` may be an empty shell."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
            browser.new_page().goto("about:blank")
            browser.close()
        except Error:
            return False
    return True


def find() -> str | None:
    """The first executable that works."""
    return next((path for path in candidates() if works(path)), None)


def install() -> None:
    """Install with Playwright, and where that gives nothing that works, with apt."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with_libraries = ["--with-deps"] if root and shutil.which("apt-get") else []
    environment = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "15000", **os.environ}
    subprocess.run([*PLAYWRIGHT, *with_libraries], env=environment, check=False)
    if find() is None and with_libraries:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *APT], check=False
        )


def main() -> None:
    """Make sure that there is a Chromium that works."""
    if find() is None:
        install()
    if find() is None:
        sys.exit(
            "no Chromium that works was found or could be installed: install Chromium or Chrome "
            "so that `chromium` or `google-chrome` is on the path"
        )


if __name__ == "__main__":
    main()
