"""A text classifier for scikit-learn: `fit` takes the examples, nothing is trained, a model is asked to predict.

    from fewshot.integrations.sklearn import FewshotClassifier
cross_val_score(FewshotClassifier(k=8), texts, labels)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewshot._environment import missing
from fewshot._options import table
from fewshot.errors import ConfigError, InputError
from fewshot.outputs.kinds import Labels, LabelSet, Output
from fewshot.settings import Settings
from fewshot.task import Task, load

try:
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
except ImportError as error:
    raise missing("the scikit-learn classifier needs an extra", "sklearn") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fewshot.result import Result

__all__ = ["FewshotClassifier"]

_log = logging.getLogger("fewshot")


class FewshotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifies texts by showing a model the examples that it was fitted on.

    The model reads the labels, so give them names that mean something. (`cross_val_predict` with `predict_proba`
    replaces them by numbers before this sees them; `cross_val_score` does not.) Where any of several labels may fit, y
    is an indicator matrix (with `classes=` for what its columns mean, or a data frame, whose columns say it), or a list
    of labels for each text; `predict` gives the like.

    Attributes:
        classes_: the labels seen in `fit`, sorted; the columns of an indicator matrix.
        task_: the task that answers.
    """

    def __init__(
        self,
        task: str = "classify",
        *,
        k: int | None = 16,
        select: str = "balanced",
        model: str | None = None,
        base_url: str | None = None,
        client: Any = None,
        descriptions: Mapping[Any, str] | None = None,
        classes: Sequence[str] | None = None,
        concurrency: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Set how to ask; nothing is checked or sent.

        Arguments:
            task: name or folder of the task whose words are used; its labels and examples are replaced.
            k: how many of the examples to show; None shows all.
            select: which of them.
            model, base_url, client: who answers; by default what the environment says.
            descriptions: what a label means, for the model to read.
            classes: the words that the model reads for labels that are numbers, the word for 0 first: where another
                estimator, such as `StackingClassifier`, hands numbers on.
            concurrency: how many texts are asked at a time; by default what the service bears.
            options: further settings, see `fewshot.settings.Settings`, but no key: parameters are shown and saved.

        Raises:
            InputError: `options` holds a key.
        """
        self.task = task
        self.k = k
        self.select = select
        self.model = model
        self.base_url = base_url
        self.client = client
        self.descriptions = descriptions
        self.classes = classes
        self.concurrency = concurrency
        self.options = options

    @property
    def options(self) -> Mapping[str, Any] | None:
        """Further settings; a key is refused, since parameters stand in representations, notebooks and pickles."""
        return self._options

    @options.setter
    def options(self, options: Mapping[str, Any] | None) -> None:
        for name, about in table(Settings).items():
            if about.secret and isinstance(options, Mapping) and name in options:
                message = f"{name} has no place in options, which are shown and saved: set OPENAI_API_KEY"
                raise InputError(message, field=name)
        self._options = options

    def fit(self, X: Any, y: Any) -> FewshotClassifier:  # noqa: N803 - scikit-learn's names
        """Keep texts and labels as examples; nothing is sent.

        Raises:
            InputError: X holds no texts, or there are fewer than two labels.
        """
        texts = _texts(X)
        check_consistent_length(texts, y)
        self.multilabel_ = "lists" if _holds_lists(y) else "matrix" if np.ndim(y) == 2 and np.shape(y)[1] > 1 else ""
        if self.multilabel_:
            self.classes_, sets = self._sets_in(y)
        else:
            labels = column_or_1d(y)
            check_classification_targets(labels)
            self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise InputError(
                f"y has {len(self.classes_)} class: a classifier needs examples of at least two", field="y"
            )
        named = self._named()
        if self.classes is None and self.descriptions is None and np.issubdtype(self.classes_.dtype, np.integer):
            _log.warning("the labels are numbers, which tell a model nothing: say what they mean with classes=")
        described = {named.get(label, str(label)): text for label, text in (self.descriptions or {}).items()}
        output: Output[Any] = Labels(tuple(named.values()), descriptions=described)
        if self.multilabel_:
            output = LabelSet(Labels(tuple(named.values()), descriptions=described))
            answers: list[Any] = [[named[label] for label in each] for each in sets]
        else:
            answers = [named[label] for label in labels.tolist()]
        pairs = list(zip(texts, answers, strict=True))
        task = "tag" if self.multilabel_ and self.task == "classify" else self.task
        settings = {"model": self.model, "base_url": self.base_url, "client": self.client}
        given = {name: value for name, value in settings.items() if value is not None} | dict(self.options or {})
        self.task_: Task[Any] = load(task, examples=pairs, output=output, k=self.k, select=self.select, **given)
        self.n_features_in_ = 1
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.asarray([str(name) for name in X.columns], dtype=object)
        return self

    def _sets_in(self, y: Any) -> tuple[NDArray[Any], list[list[Any]]]:
        if self.multilabel_ == "lists":
            sets = [list(labels) for labels in y]
            return np.unique([label for labels in sets for label in labels]), sets
        matrix = np.asarray(y.todense() if hasattr(y, "todense") else y)
        if not np.isin(matrix, (0, 1)).all():
            raise InputError("y has several columns, and is not a matrix of 0 and 1", field="y")
        names = [str(name) for name in getattr(y, "columns", range(matrix.shape[1]))]
        columns = np.arange(matrix.shape[1]) if self.classes is not None else np.asarray(names, dtype=object)
        return columns, [columns[row.astype(bool)].tolist() for row in matrix]

    def _named(self) -> dict[Any, str]:
        """Give the word for each label, in the order of `classes_`."""
        labels = self.classes_.tolist()
        if self.classes is None:
            return {label: str(label) for label in labels}
        if not all(isinstance(label, int) and 0 <= label < len(self.classes) for label in labels):
            message = f"classes= names the labels 0 to {len(self.classes) - 1}, and y holds {labels!r:.80}"
            raise InputError(message, field="classes")
        return {label: self.classes[label] for label in labels}

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Give the label of each text; of several an indicator matrix or lists of labels, as in `fit`.

        Raises:
            ServiceError, OutputError: a text could not be answered.
        """
        check_is_fitted(self)
        places = {name: place for place, name in enumerate(self._named().values())}
        if self.multilabel_:
            sets = [[places[name] for name in _answered(result).value or ()] for result in self._results(X)]
            if self.multilabel_ == "matrix":
                return np.asarray([[int(n in found) for n in range(len(places))] for found in sets]).reshape(
                    -1, len(places)
                )
            lists = np.empty(len(sets), dtype=object)
            lists[:] = [self.classes_[found].tolist() for found in sets]
            return lists
        found = [places[str(_answered(result).value)] for result in self._results(X)]
        return np.asarray(self.classes_[np.asarray(found, dtype=int)])

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Give the probability of each class for each text, in the order of `classes_`; of several each label's own.

        Raises:
            ConfigError: the endpoint gives no probabilities. ServiceError, OutputError: a text got no answer.
        """
        check_is_fitted(self)
        names = list(self._named().values())
        rows = []
        for result in self._results(X):
            if _answered(result).probabilities is None:
                raise ConfigError(
                    f"{result.model} gives no probabilities here: use predict, or sample with options={{'votes': 5}}"
                )
            rows.append([(result.probabilities or {}).get(name, 0.0) for name in names])
        return np.asarray(rows, dtype=float).reshape(-1, len(names))

    def _results(self, X: Any) -> list[Result[Any]]:  # noqa: N803
        return list(self.task_.map(_texts(X), concurrency=self.concurrency))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.no_validation = True
        tags.non_deterministic = True
        tags.classifier_tags.poor_score = True
        tags.classifier_tags.multi_label = True
        return tags

    def __sklearn_clone__(self) -> FewshotClassifier:
        """Give an unfitted classifier with the same parameters; a client has connections and is shared, not copied."""
        return type(self)(**self.get_params(deep=False))


def _holds_lists(y: Any) -> bool:
    """Tell whether each text has a list or a set of labels, which may all be of one length."""
    first = next(iter(y), None) if not hasattr(y, "shape") or np.ndim(y) == 1 else None
    if not isinstance(first, list | tuple | set | frozenset):
        return False
    return len({len(row) for row in y}) > 1 or not all(isinstance(each, int) for each in first)


def _texts(X: Any) -> Sequence[str]:  # noqa: N803
    """Take a sequence of texts, or the one column of a table."""
    values = np.asarray(X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(f"X must be one column of texts, not an array of shape {values.shape}", field="X")
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"X[{row}] is a {type(value).__name__}: texts are wanted", field="X", row=row)
    return list(values)


def _answered(result: Result[Any]) -> Result[Any]:
    if result.error is not None:
        raise result.error
    if result.abstained:
        raise ConfigError("the task abstained, for which scikit-learn has no label: leave min_confidence out")
    return result
