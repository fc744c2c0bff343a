"""A model by name from the Hugging Face hub: `hf:OWNER/REPO`, with a file or a quantisation after a further colon.

At first use the name is resolved to a commit, and the file checked against the hash that the hub names for it; from
then on it is used without a network. `huggingface_hub` does the fetching, with its own cache and variables (`HF_TOKEN`,
`HF_ENDPOINT`, `HF_HOME`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot._storage import cache_dir, write_private
from fewshot.errors import ConfigError
from fewshot.models.endpoint import offline

__all__ = ["HubFile", "fetched", "known"]

_PREFERRED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
"""Quantisations by how near they come to the model itself; larger ones gain nothing that labels show."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of one commit, as it was fetched and found sound."""

    name: str
    """What it was asked for by, without `hf:`."""
    repo: str
    commit: str
    file: str
    size: int
    sha256: str
    path: str
    licence: str = ""

    @property
    def is_there(self) -> bool:
        """Whether the file is still where it was, in its whole length."""
        with contextlib.suppress(OSError):
            return Path(self.path).stat().st_size == self.size
        return False


def fetched(name: str) -> Path:
    """Give the file of a model, fetching it at first use; it is hashed then, and not at every start.

    Arguments:
        name: `OWNER/REPO`, `OWNER/REPO:FILE.gguf` or `OWNER/REPO:QUANTISATION`.

    Raises:
        ConfigError: it is not here and cannot be had, or what came is not what the hub says; says what to do.
    """
    record = _record(name)
    before = _read(record)
    if before is not None and before.name == name and before.is_there:
        return Path(before.path)
    found = _fetch(name)
    write_private(record, json.dumps(asdict(found)))
    return Path(found.path)


def known() -> list[HubFile]:
    """Give the models that were fetched and are still here."""
    records = map(_read, sorted(cache_dir("hub").glob("*.json")))
    return [record for record in records if record is not None and record.is_there]


def _record(name: str) -> Path:
    return cache_dir("hub") / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _read(record: Path) -> HubFile | None:
    try:
        return HubFile(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # not there, or written by nobody we know: fetched anew
        return None


def _fetch(name: str) -> HubFile:
    repo, _, wanted = name.partition(":")
    if repo.count("/") != 1:
        raise ConfigError(f"hf:{name} does not name a model: write hf:OWNER/REPO, hf:OWNER/REPO:FILE.gguf or :Q8_0")
    if offline():
        raise ConfigError(f"hf:{name} is not on this machine and FEWSHOT_OFFLINE is set: run once without it")
    try:
        import huggingface_hub as hub
    except ModuleNotFoundError as error:
        raise ConfigError(f"hf:{name} needs an extra: pip install 'fewshot[hub]'") from error
    try:
        about = hub.HfApi().model_info(repo, files_metadata=True)
        chosen = _chosen(name, wanted, about.siblings or [])
        path = Path(hub.hf_hub_download(repo, chosen.rfilename, revision=about.sha))
    except ConfigError:
        raise
    except hub.errors.GatedRepoError as error:
        raise ConfigError(
            f"hf:{name} is only for who has accepted its terms: do so on the page of {repo}, and set HF_TOKEN"
        ) from error
    except hub.errors.RepositoryNotFoundError as error:
        raise ConfigError(f"the hub has no model {repo}, or it is private: check the name, or set HF_TOKEN") from error
    except Exception as error:  # whatever its HTTP client raises; that changes with its version
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"hf:{name} cannot be fetched ({type(error).__name__}: {reason}): check the network or HF_ENDPOINT and try "
            "again, what has come is kept; or name a GGUF file in FEWSHOT_MODEL"
        ) from error
    sha256 = _checked(name, path, chosen)
    licence = str(getattr(about.card_data, "license", None) or "")
    return HubFile(name, repo, str(about.sha), chosen.rfilename, path.stat().st_size, sha256, str(path), licence)


def _chosen(name: str, wanted: str, files: Sequence[Any]) -> Any:
    """Choose the file that is named, or the only one of the quantisation that is; by default the best usual one."""
    models = [file for file in files if file.rfilename.endswith(".gguf") and "mmproj" not in file.rfilename.lower()]
    exact = [file for file in models if file.rfilename == wanted]
    for quantisation in [wanted] if wanted else _PREFERRED:
        found = exact or [file for file in models if quantisation.lower() in file.rfilename.lower()]
        if len(found) == 1:
            return found[0]
    if not wanted and len(models) == 1:
        return models[0]
    there = ", ".join(sorted(file.rfilename for file in models)) or "none"
    raise ConfigError(f"hf:{name} does not name one GGUF file: write hf:OWNER/REPO:FILE with one of {there}")


def _checked(name: str, path: Path, chosen: Any) -> str:
    """Hash the file; large files have a sha256 on the hub, small ones the hash that git gives them."""
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if chosen.lfs is not None:
        sound = sha256 == chosen.lfs.sha256
    else:
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        sound = blob.hexdigest() == chosen.blob_id
    if not sound:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise ConfigError(
            f"the file that came for hf:{name} is not the one that the hub names (wrong hash): it is removed, try again"
        )
    return sha256
