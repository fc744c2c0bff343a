"""The models that a service lists, in the usual shapes: OpenAI's and Ollama's own, or the list alone."""

from __future__ import annotations

import json
from typing import Any

from fewshot.models.wire.response import Reply, rubbish

__all__ = ["model_names", "read_window"]

_WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length", "max_input_tokens")
"""How lists of models name what one holds: vLLM and SGLang; OpenRouter and Together; Groq; Mistral; Anthropic."""


def model_names(reply: Reply) -> list[str]:
    """Name the models; raises ServiceError where none is listed."""
    names = [name for model in _listed(reply) if isinstance(name := model.get("id") or model.get("name"), str)]
    return names or rubbish("no list of models")


def read_window(reply: Reply, model: str) -> int:
    """Read how many tokens a model holds; 0 where that is not said."""
    about = next((each for each in _listed(reply) if each.get("id") == model), {})
    meta = about.get("meta")
    sizes = [about.get(name) for name in _WINDOWS] + ([meta.get("n_ctx")] if isinstance(meta, dict) else [])
    return next((size for size in sizes if type(size) is int and size > 0), 0)


def _listed(reply: Reply) -> list[dict[str, Any]]:
    try:
        told: Any = json.loads(reply.body)
    except ValueError:
        rubbish("not JSON")
    listed = next((told[key] for key in ("data", "models") if key in told), ()) if isinstance(told, dict) else told
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
