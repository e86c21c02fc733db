from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.chromium import FLAGS, find
from tests.browser.lab import Lab, close_notebooks

FOLDER = Path(__file__).parent
#: A page may have to wait for cores that other tests keep busy.
PATIENCE_MS = 180_000
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
        page.on("pageerror", self._failed)
        page.on("console", self._console)
        page.on("request", self._asked)

    def detach(self, page: Page) -> None:
        page.remove_listener("pageerror", self._failed)
        page.remove_listener("console", self._console)
        page.remove_listener("request", self._asked)

    def _failed(self, error: Error) -> None:
        self.errors.append(str(error))

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
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
def page(request: pytest.FixtureRequest, browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page of 1280 by 1000 pixels: a new one, or where a test has `lab`, that of JupyterLab."""
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab")
        yield from _jupyter(request.getfixturevalue("jupyter"), watch)
    else:
        yield from _new(browser, watch)


@pytest.fixture
def offline(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page without network."""
    yield from _new(browser, watch, offline=True)


def _context(browser: Browser, **options: Any) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, **options)
    context.set_default_timeout(PATIENCE_MS)
    return context


def _new(browser: Browser, watch: Watch, **options: Any) -> Iterator[Page]:
    context = _context(browser, **options)
    page = context.new_page()
    watch.attach(page)
    yield page
    context.close()


def _jupyter(context: BrowserContext, watch: Watch) -> Iterator[Page]:
    """The page of JupyterLab, left without a notebook; a new one if it was left otherwise."""
    page = context.pages[0] if context.pages else context.new_page()
    watch.attach(page)
    yield page
    watch.detach(page)
    for other in context.pages:
        if other is not page or not close_notebooks(page):
            other.close()


@pytest.fixture(scope="session")
def jupyter(browser: Browser) -> Iterator[BrowserContext]:
    """Where JupyterLab stays loaded: that takes longer than what most tests do in it."""
    context = _context(browser)
    yield context
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
