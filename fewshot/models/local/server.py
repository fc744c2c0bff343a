"""The embedded model: llama.cpp inside this process, behind the same kind of API as any service.

It listens on a loopback port behind a random key, so the one client path talks to it as to any other server. It is
started at first use, once for each model file, and again in a forked child. Through `LocalServer.slot` the same
request gets the same answer and the same log-probabilities to the last bit, whatever was asked before or is asked
meanwhile.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import logging
import os
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fewshot._environment import missing
from fewshot._storage import cache_dir
from fewshot.errors import ConfigError
from fewshot.models.endpoint import EMBEDDED_CONTEXT, EMBEDDED_MODEL, Secret
from fewshot.models.local.download import model_file
from fewshot.models.local.hub import fetched
from fewshot.models.local.slot import Slot

__all__ = ["LocalServer", "serve", "serve_embeddings"]

_SLOTS = 1
"""Requests worked on at a time: with more, what shares a batch moves log-probabilities (by up to 0.19 seen), so that
the same question could get another answer, and two cores gain no speed by it."""
_CONNECTIONS = 32
"""Connections that are served, each by a thread: one too many would wait until another closes, and kept ones do not."""
_BATCH = 512
"""Tokens computed at a time; the slot sees to it that batches begin at the same places in the same request."""
_LONGEST_EMBEDDED = 2048
"""Tokens of the longest text that an embedding is given of: it must fit in one batch."""
_MOST_THREADS = 8
"""More threads than these do not make a small model faster."""
_HUB = "hf:"
_SLOW_TO_LOAD = 500_000_000
"""Bytes of a model from which on loading it is announced."""
_LOUDEST = -1
"""llama.cpp's log level: nothing."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """An embedded server that is running."""

    base_url: str
    api_key: str = field(repr=False)
    model: str
    path: Path
    slot: Slot = field(repr=False, compare=False)


_log = logging.getLogger("fewshot")
_lock = threading.Lock()
_running: dict[tuple[str, bool], tuple[LocalServer, Any]] = {}
"""By model and purpose, with llama.cpp's own object, which stops serving when the last reference to it goes."""
_forked = False
"""This process was forked from one that was serving, and so inherited llama.cpp's state without its threads."""


def serve(model: str = "local") -> LocalServer:
    """Start the embedded server, or give the one that runs.

    Arguments:
        model: `"local"` for the model that the package knows, the path of a GGUF file, or `hf:OWNER/REPO` with a file
            or a quantisation after a further colon.

    Raises:
        ConfigError: the extra is not installed, or the model cannot be had or read.
    """
    return _serve(model, embeddings=False)


def serve_embeddings(model: str = "local") -> LocalServer:
    """Start a second server of the same model that gives embeddings, which one for completions cannot."""
    return _serve(model, embeddings=True)


@lru_cache(maxsize=64)
def digest_of(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - a part of the cache's key
    """Hash a model file; size and time of change make an edited one be read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _serve(model: str, *, embeddings: bool) -> LocalServer:
    named = model == "local" or model.startswith(_HUB)
    key = (model if named else str(Path(model).expanduser().absolute()), embeddings)
    with _lock:
        if key not in _running:
            _running[key] = _start(*key)
        return _running[key][0]


def _start(model: str, embeddings: bool) -> tuple[LocalServer, Any]:
    xllamacpp = _llama()
    path = (
        model_file()
        if model == "local"
        else _own_file(str(fetched(model.removeprefix(_HUB))) if model.startswith(_HUB) else model)
    )
    name = EMBEDDED_MODEL if model == "local" else path.stem
    api_key = Secret(secrets.token_urlsafe(24))
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [str(api_key)]
    params.ui = False
    params.verbosity = _LOUDEST
    params.n_ctx = EMBEDDED_CONTEXT
    params.n_parallel = _SLOTS
    params.n_threads_http = _CONNECTIONS
    params.n_batch = params.n_ubatch = _LONGEST_EMBEDDED if embeddings else _BATCH
    params.cache_ram_mib = 0  # or what was asked before would decide where batches begin
    params.warmup = False
    params.fit_params = False  # tries out what fits into a graphics card, by loading twice
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads = _threads()
    states = _states()
    params.slot_save_path = f"{states}{os.sep}"
    if embeddings:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if path.stat().st_size > _SLOW_TO_LOAD:
        sys.stderr.write(f"fewshot: loading {path.name} ({path.stat().st_size / 1e9:.1f} GB)\n")
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"llama.cpp cannot load {path}: {error}; is it a GGUF model that it knows?") from error
    _await_loop(server.listening_address, api_key)
    status = path.stat()
    about = (path, status.st_size, status.st_mtime_ns, EMBEDDED_CONTEXT, params.n_batch, threads, version("xllamacpp"))
    slot = Slot(server.listening_address, api_key, repr((*map(str, about), xllamacpp.get_system_info())), states)
    return LocalServer(f"{server.listening_address}/v1", api_key, name, path, slot), server


def _states() -> Path:
    """Give the folder for the states of prompts; one for this process alone where the cache folder is of no use."""
    try:
        return cache_dir("states")
    except ConfigError as error:
        _log.warning("what prompts come to is computed in every process anew: %s", error)
        folder = tempfile.mkdtemp(prefix="fewshot-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def _threads() -> int:
    """Give the number of cores that this process may use: those it may run on, within the quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no cgroup of version 2, or no quota ("max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return min(_MOST_THREADS, cores)


def _await_loop(address: str, api_key: str) -> None:
    """Wait until llama.cpp's loop runs: one that is stopped before it began never ends, and so nor would the process.

    The state of the slots is told by the loop itself, so an answer proves that it runs.
    """
    with contextlib.closing(HTTPConnection(urlsplit(address).netloc)) as connection:
        connection.request("GET", "/slots", headers={"Authorization": f"Bearer {api_key}"})
        connection.getresponse().read()


def _llama() -> Any:
    """Import llama.cpp so that its threads sleep while they wait for each other.

    On two busy cores, threads that spin instead take eight times as long. The variable is read when libgomp is loaded.
    """
    chosen = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = chosen or "passive"
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        instead = "set OPENAI_API_KEY for a service"
        raise missing("the embedded model needs an extra", "local", instead) from error
    except ImportError as error:
        raise ConfigError(
            f"xllamacpp is installed but cannot be loaded ({error}): install what it misses (libgomp.so.1 is in the "
            "system package libgomp1 or libgomp), or set OPENAI_API_KEY for a service"
        ) from error
    finally:
        if chosen is None:
            del os.environ["OMP_WAIT_POLICY"]
    return xllamacpp


def _own_file(model: str) -> Path:
    path = Path(model).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(f"the model file {model!r} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise ConfigError(f"{model!r} is not a GGUF model file")
    return path.absolute()


def _stop() -> None:
    """Stop serving before the interpreter ends; what is still being computed is given up.

    llama.cpp waits for the end of every request whose connection is open, so the connections are cut first.
    """
    if _forked:
        _keep_for_ever()
    ports = {urlsplit(server.base_url).port for server, _ in _running.values()}
    for connection in _open_sockets():
        with contextlib.suppress(OSError):  # not a connection, or closed meanwhile
            if connection.family == socket.AF_INET and connection.getsockname()[1] in ports:
                connection.getpeername()
                connection.shutdown(socket.SHUT_RDWR)
    _running.clear()


def _open_sockets() -> Iterator[socket.socket]:
    """Give every socket of this process, where the system lists them (not on Windows)."""
    folder = Path("/dev/fd")
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                with socket.socket(fileno=os.dup(int(entry.name))) as found:
                    yield found


def _leave_to_parent() -> None:
    """In a forked child: forget the parent's servers without stopping them, since their threads are not here.

    Nor are the threads that llama.cpp's global state waits for when a process ends, so this one has to end without
    running C++ destructors; Python's own end is not cut short by that.
    """
    global _lock, _forked
    _lock = threading.Lock()  # may be held by a thread that is gone
    if _running:
        _keep_for_ever()
        libc = ctypes.CDLL(None)
        if not _forked and hasattr(libc, "on_exit"):  # glibc
            libc.on_exit(getattr(libc, "_exit"), None)  # noqa: B009 - a C function, not a private attribute
        _forked = True


def _keep_for_ever() -> None:
    """Forget the servers in a way that never stops them: stopping would wait for threads that do not exist."""
    for _, server in _running.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))
    _running.clear()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
