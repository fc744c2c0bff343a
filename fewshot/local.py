"""The embedded model: llama.cpp inside this process, behind the same kind of API as any service.

It listens on a loopback port behind a random key, so the one client path talks to it as to any other server. It is
started at first use, once for each model file, and again in a forked child.
"""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot.download import model_file
from fewshot.endpoint import EMBEDDED_MODEL, Secret
from fewshot.errors import ConfigError

__all__ = ["LocalServer", "serve", "serve_embeddings"]

_CONTEXT = 8192
"""Tokens that a prompt may hold: what the embedded model was trained for."""
_SLOTS = 1
"""Requests worked on at a time: with more, what shares a batch moves log-probabilities (by up to 0.19 seen), so that
the same question could get another answer, and two cores gain no speed by it."""
_PROMPT_CACHE_MIB = 512
"""Memory for the beginnings of other prompts, so that tasks that alternate keep theirs."""
_LOUDEST = -1
"""llama.cpp's log level: nothing."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """An embedded server that is running."""

    base_url: str
    api_key: str = field(repr=False)
    model: str
    path: Path


_lock = threading.Lock()
_running: dict[tuple[int, str, bool], tuple[LocalServer, Any]] = {}
"""By process, model and purpose: a forked child inherits the entries, but not the threads that serve them."""


def serve(model: str = "local") -> LocalServer:
    """Start the embedded server, or give the one that runs.

    Arguments:
        model: `"local"` for the model that the package knows, or the path of a GGUF file.

    Raises:
        ConfigError: the extra is not installed, or the model cannot be had or read.
    """
    return _serve(model, embeddings=False)


def serve_embeddings(model: str = "local") -> LocalServer:
    """Start a second server of the same model that gives embeddings, which one for completions cannot."""
    return _serve(model, embeddings=True)


def _serve(model: str, *, embeddings: bool) -> LocalServer:
    key = (os.getpid(), model, embeddings)
    with _lock:
        if key not in _running:
            _running[key] = _start(model, embeddings=embeddings)
        return _running[key][0]


def _start(model: str, *, embeddings: bool) -> tuple[LocalServer, Any]:
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(
            "the embedded model needs an extra: pip install 'fewshot[local]'; or set OPENAI_API_KEY for a service"
        ) from error
    path = model_file() if model == "local" else _own_file(model)
    api_key = Secret(secrets.token_urlsafe(24))
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [str(api_key)]
    params.ui = False
    params.verbosity = _LOUDEST
    params.n_ctx = _CONTEXT
    params.n_parallel = _SLOTS
    params.kv_unified = True
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    if embeddings:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = 2048
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"llama.cpp cannot load {path}: {error}; is it a GGUF model that it knows?") from error
    name = EMBEDDED_MODEL if model == "local" else path.stem
    return LocalServer(f"{server.listening_address}/v1", api_key, name, path), server


def _own_file(model: str) -> Path:
    path = Path(model).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(f"the model file {model!r} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise ConfigError(f"{model!r} is no GGUF model file")
    return path.absolute()


def _threads() -> int:
    """Give half the cores, at least one: threads that wait for each other on a busy core slow llama.cpp down."""
    return max(1, min(8, (os.cpu_count() or 2) // 2))


def _forget_parent() -> None:
    """In a forked child: the lock may be held by a thread that is gone."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
