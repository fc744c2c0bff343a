"""Import paths that earlier documents named, and where the modules are now."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "Moved"]

MOVED = {
    "fewshot.abstention": "fewshot.calibration.abstention",
    "fewshot.calibrated": "fewshot.evaluation.calibrate",
    "fewshot.client": "fewshot.models.scripted",
    "fewshot.evaluate": "fewshot.evaluation.evaluate",
    "fewshot.folder": "fewshot.task",
    "fewshot.frames": "fewshot.data.frames",
    "fewshot.metrics": "fewshot.evaluation.metrics",
    "fewshot.output": "fewshot.outputs.kinds",
    "fewshot.price": "fewshot.models.pricing",
    "fewshot.redaction": "fewshot.inference.redaction",
    "fewshot.report": "fewshot.evaluation.report",
    "fewshot.rows": "fewshot.data.columns",
    "fewshot.streaming": "fewshot.calibration.running",
    "fewshot.tasks": "fewshot.functions",
    "fewshot.tune": "fewshot.tuning.tune",
    "fewshot.tuned": "fewshot.tuning.result",
}


class Moved:
    """Finds and loads a moved module under its old name; on `sys.meta_path`, asked only where nothing else is found."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG003
        """Give the spec of a module that moved, else None."""
        loader: Any = cls  # `importlib.abc` says that it is one, and is slow to import
        return ModuleSpec(name, loader) if name in MOVED else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        """Give the module at its new place."""
        module = import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Nothing is left to run: the module keeps its own spec."""
        module.__spec__ = getattr(module.__spec__, "loader_state", None)
