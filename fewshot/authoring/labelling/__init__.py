"""From a pile of texts to labelled rows: a random order, what the labels have bought, and their files."""

from fewshot.authoring.labelling.labelling import Labelling
from fewshot.authoring.labelling.records import agreement, read_labels

__all__ = ["Labelling", "agreement", "read_labels"]
