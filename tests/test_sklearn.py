"""The classifier for scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fewshot import Completion, ConfigError, InputError, Request, ScriptedClient, ServiceError
from fewshot.types import TokenLogprob, Usage

np = pytest.importorskip("numpy", reason="the extra 'sklearn' is not installed")
pytest.importorskip("sklearn", reason="the extra 'sklearn' is not installed")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import cross_val_predict, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402

from fewshot.integrations.sklearn import FewshotClassifier  # noqa: E402

TEXTS = ["good one", "bad one", "good two", "bad two", "good three", "bad three", "good four", "bad four"]
LABELS = ["pos", "neg"] * 4


def knowing(probability: float | None = None) -> ScriptedClient:
    """Make a client that answers "pos" (or 1) to what is good, with a probability where one is wanted."""

    def answer(request: Request) -> Completion:
        names = ("neg", "pos") if "pos" in request.prefix.messages[0].content else ("0", "1")
        other, label = names if "good" in request.messages[-1].content else names[::-1]
        if probability is None:
            return Completion(text=label)
        top = ((label.encode(), math.log(probability)), (other.encode(), math.log(1 - probability)))
        return Completion(text=label, tokens=(TokenLogprob(*top[0], top),), usage=Usage(50, 1))

    client = ScriptedClient(answer)
    if probability is not None:
        client.top_logprobs = 5  # type: ignore[attr-defined]
    return client


def test_fit_keeps_examples_and_predict_asks() -> None:
    client = knowing()
    model = FewshotClassifier(client=client).fit(TEXTS, LABELS)
    assert client.requests == []
    assert model.classes_.tolist() == ["neg", "pos"]
    assert model.predict(["a good day", "a bad day"]).tolist() == ["pos", "neg"]
    assert len(client.requests[0].prefix.messages) == 1 + 2 * 8


def test_labels_may_be_numbers() -> None:
    model = FewshotClassifier(client=knowing()).fit(np.array(TEXTS), np.array([1, 0] * 4))
    found = model.predict(np.array(["bad", "good"]))
    assert (found.tolist(), found.dtype.kind) == ([0, 1], "i")


def test_probabilities_are_in_the_order_of_the_classes() -> None:
    model = FewshotClassifier(client=knowing(0.9)).fit(TEXTS, LABELS)
    assert model.predict_proba(["good", "bad"]) == pytest.approx(np.array([[0.1, 0.9], [0.9, 0.1]]))


def test_an_endpoint_without_probabilities_says_so() -> None:
    with pytest.raises(ConfigError, match="votes"):
        FewshotClassifier(client=knowing()).fit(TEXTS, LABELS).predict_proba(["good"])


def test_it_works_in_cross_validation_and_pipelines() -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    model = make_pipeline(lower, FewshotClassifier(client=knowing(0.9), k=2))
    assert cross_val_score(model, [text.upper() for text in TEXTS], LABELS, cv=2).tolist() == [1.0, 1.0]
    found = cross_val_predict(model, TEXTS, LABELS, cv=2, method="predict_proba")
    assert found[:, 1] == pytest.approx([0.9, 0.1] * 4)


def test_a_clone_has_the_same_parameters_and_shares_the_client() -> None:
    model = FewshotClassifier(client=knowing(), k=3, options={"seed": 4}).fit(TEXTS, LABELS)
    copy = clone(model)
    assert (copy.client is model.client, copy.k, copy.options) == (True, 3, {"seed": 4})
    assert not hasattr(copy, "classes_")
    assert copy.set_params(k=5).k == 5


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([1, 2], ["a", "b"], r"X\[0\] is a int"),
        ([["a", "b"], ["c", "d"]], ["a", "b"], "one column"),
        (["a", "b"], ["a", "a"], "at least two"),
    ],
)
def test_what_cannot_be_fitted_is_refused(X: Any, y: Any, message: str) -> None:  # noqa: N803
    with pytest.raises(InputError, match=message):
        FewshotClassifier(client=knowing()).fit(X, y)


def test_a_failure_is_raised() -> None:
    client = ScriptedClient(lambda _: ServiceError("no such model", status=404))
    with pytest.raises(ServiceError, match="no such model"):
        FewshotClassifier(client=client).fit(TEXTS, LABELS).predict(["good"])


CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)
"""Those of scikit-learn's checks that do not fit tables of numbers."""


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_own_checks_pass(name: str) -> None:
    getattr(estimator_checks, name)("FewshotClassifier", FewshotClassifier(client=knowing(0.9)))


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_check_estimator_finds_nothing() -> None:
    found = estimator_checks.check_estimator(FewshotClassifier(client=knowing(0.9)), on_skip=None, on_fail=None)
    assert [check["check_name"] for check in found if check["status"] == "failed"] == []


def test_numbers_that_another_estimator_hands_on_are_read_as_words(caplog: pytest.LogCaptureFixture) -> None:
    client = knowing(0.9)
    model = FewshotClassifier(client=client, classes=["neg", "pos"]).fit(TEXTS, np.array([1, 0] * 4))
    assert model.predict(["a good day", "a bad day"]).tolist() == [1, 0]
    assert model.predict_proba(["good"])[0] == pytest.approx([0.1, 0.9])
    assert "neg, pos" in client.requests[0].prefix.messages[0].content
    assert not caplog.text
    with pytest.raises(InputError, match="names the labels 0 to 1"):
        FewshotClassifier(classes=["neg", "pos"]).fit(TEXTS, np.array([1, 2] * 4))
    FewshotClassifier(client=client).fit(TEXTS, np.array([1, 0] * 4))
    assert "say what they mean with classes=" in caplog.text


def test_a_key_never_becomes_a_parameter() -> None:
    with pytest.raises(InputError, match="set OPENAI_API_KEY"):
        FewshotClassifier(options={"api_key": "sk-canary"})
    with pytest.raises(InputError, match="set OPENAI_API_KEY"):
        FewshotClassifier().set_params(options={"api_key": "sk-canary"})


def test_the_names_of_a_frame_are_kept() -> None:
    pd = pytest.importorskip("pandas")
    model = FewshotClassifier(client=knowing()).fit(pd.DataFrame({"review": TEXTS}), LABELS)
    assert model.feature_names_in_.tolist() == ["review"]
    assert model.predict(pd.DataFrame({"review": ["good"]})).tolist() == ["pos"]


def naming(*, listed: bool = False) -> ScriptedClient:
    """Make a client that gives every label which stands in the text."""

    def answer(request: Request) -> Completion:
        text = request.messages[-1].content
        found = [name for name in ("food", "price", "staff") if name in text]
        if not listed:
            return Completion(text=", ".join(found) or "none")
        shares = {name: 0.6 if name == found[0] else 0.2 for name in ("food", "price")}
        top = tuple((name.encode(), math.log(p)) for name, p in sorted(shares.items(), key=lambda pair: -pair[1]))
        return Completion(text=found[0], tokens=(TokenLogprob(*top[0], top),), usage=Usage(50, 1))

    client = ScriptedClient(answer)
    if listed:
        client.top_logprobs = 5  # type: ignore[attr-defined]
    return client


def test_lists_of_labels_are_fitted_and_given() -> None:
    y = [["food"], ["price", "staff"], [], ["staff"]]
    model = FewshotClassifier(client=naming()).fit(["a food", "price staff", "none", "staff"], y)
    assert model.classes_.tolist() == ["food", "price", "staff"]
    assert model.predict(["staff food", "nothing"]).tolist() == [["food", "staff"], []]


@pytest.mark.parametrize("kind", ["array", "frame", "sparse"])
def test_an_indicator_matrix_is_fitted_and_given(kind: str) -> None:
    matrix = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]])
    names = ["food", "price", "staff"]
    if kind == "frame":
        given = pytest.importorskip("pandas").DataFrame(matrix, columns=names)
    else:
        given = matrix if kind == "array" else pytest.importorskip("scipy.sparse").csr_matrix(matrix)
    classes = None if kind == "frame" else names
    texts = ["a food", "price staff", "none", "staff"]
    model = clone(FewshotClassifier(client=naming(), classes=classes)).fit(texts, given)
    assert model.predict(["staff food", "nothing"]).tolist() == [[1, 0, 1], [0, 0, 0]]
    assert model.score(texts, given) == 1


def test_each_label_of_a_set_has_a_probability_of_its_own() -> None:
    model = FewshotClassifier(client=naming(listed=True)).fit(["food", "price", "-"], [["food"], ["price"], []])
    found = model.predict_proba(["price"])
    assert found.shape == (1, 2)
    assert found[0].tolist() == pytest.approx([0.25, 0.75], abs=0.01)


def test_columns_that_are_no_indicators_are_refused() -> None:
    with pytest.raises(InputError, match="not a matrix of 0 and 1"):
        FewshotClassifier(client=naming()).fit(["a", "b"], [[1, 2], [3, 4]])
