from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.chromium import FLAGS, find
from tests.browser.lab import Lab

FOLDER = Path(__file__).parent
#: A page may have to wait for cores that other tests keep busy.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


# Before the order of all tests is made from the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever starts a browser is slow."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker("slow")


@dataclass
class Watch:
    """What a page did that it should not do."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)
        page.on("request", lambda request: self.requests.append(request.url))

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def outside(self) -> list[str]:
        """Requests to anything but this machine."""
        inside = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:")
        return [url for url in self.requests if not url.startswith(inside)]


@pytest.fixture(scope="session")
def chromium() -> str:
    executable = find()
    assert executable, "no Chromium that works: run `make chromium`"
    return executable


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page of 1280 by 1000 pixels in a context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    watch.attach(page)
    yield page
    context.close()


@pytest.fixture
def offline(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page without network."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, offline=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    watch.attach(page)
    yield page
    context.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@pytest.fixture
def lab(server: Lab) -> Iterator[Lab]:
    """The server without kernels of earlier tests."""
    server.stop_kernels()
    yield server
    server.stop_kernels()
