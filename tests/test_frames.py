"""Series and data frames: whole columns in, aligned columns out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fewshot import InputError, ScriptedClient, ServiceError, Task
from fewshot.data.frames import COLUMNS, frame_records, is_frame, map_frame
from fewshot.result import Result
from fewshot.types import Usage

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")

PLAIN = Task.of("Which?", ["positive", "negative"])


def taking(*inputs: str, optional: str | None = None) -> Task[Any]:
    """Make a task with these inputs."""
    asked = " ".join(f"{{{{ {name} }}}}" for name in [*inputs, *([optional] if optional else [])])
    source = f"{{% block input %}}{asked}{{% endblock %}}{{% block output %}}Output: {{{{ output }}}}{{% endblock %}}"
    declared: dict[str, Any] = dict.fromkeys(inputs, ...)
    return Task.of(source, "text", inputs=declared | ({optional: None} if optional else {}))


@dataclass
class Mapped:
    """A task whose `map` answers by itself: what `bulk` does is tested there."""

    task: Task[Any] = PLAIN
    rows: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def map(self, rows: Iterable[Any], **options: Any) -> Iterator[Result[Any]]:
        self.options = options
        for position, row in enumerate(rows):
            self.rows.append(row)
            if not row.get("text"):
                yield Result(error=InputError("text must be text, not None"), row=position)
                continue
            value = "positive" if "good" in row["text"] else "negative"
            yield Result(
                value=value, probabilities={"positive": 0.75, "negative": 0.25}, confidence=0.75, usage=Usage(9, 1)
            )


def mapped(task: Task[Any] = PLAIN) -> Any:
    return Mapped(task)


def test_a_pandas_series_gives_a_series_with_its_index() -> None:
    texts = pd.Series(["good", "bad"], index=["x", "y"])
    found = map_frame(mapped(), texts)
    assert found.to_dict() == {"x": "positive", "y": "negative"}
    assert found.name == "task"


def test_a_polars_series_gives_a_series() -> None:
    found = map_frame(mapped(), pl.Series("t", ["good", None]))
    assert (found.to_list(), found.dtype) == (["positive", None], pl.String)


def test_what_failed_in_a_series_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = map_frame(mapped(), pd.Series(["good", None, float("nan")]))
        assert "failed" not in caplog.text  # a missing cell has a missing value, which is told, and has not failed
        assert found.isna().tolist() == [False, True, True]
        failing = PLAIN.using(client=ScriptedClient("positive", ServiceError("down"), "negative"), max_retries=0)
        assert failing.map(pd.Series(["good", "odd", None]), concurrency=1).isna().tolist() == [False, True, True]
    assert "1 of 3 rows failed" in caplog.text


def test_a_pandas_frame_gives_results_with_its_index() -> None:
    frame = pd.DataFrame({"id": [7, 8, 9], "text": ["good", "bad", None]}, index=[30, 10, 20])
    found = map_frame(mapped(), frame)
    assert list(found.columns) == list(COLUMNS)
    assert list(found.index) == [30, 10, 20]
    assert found.loc[10, "value"] == "negative"
    assert found.loc[10, "probabilities"] == {"positive": 0.75, "negative": 0.25}
    assert pd.isna(found.loc[20, ["value", "error"]]).all()
    assert found.loc[20, "warnings"] == "an input is missing, so nothing was asked"
    assert frame.join(found).loc[30, ["id", "value"]].tolist() == [7, "positive"]


def test_a_polars_frame_gives_results_of_fixed_types() -> None:
    found = map_frame(mapped(), pl.DataFrame({"text": ["good", None], "id": [1, 2]}))
    assert found.columns == list(COLUMNS)
    assert found["value"].to_list() == ["positive", None]
    assert found["probabilities"].to_list()[0] == {"positive": 0.75, "negative": 0.25}
    nothing = map_frame(mapped(), pl.DataFrame({"text": [None]}, schema={"text": pl.String}))
    for name in set(COLUMNS) - {"probabilities"}:
        assert nothing[name].dtype == found[name].dtype


def test_only_the_columns_of_the_task_go_in_and_missing_is_none() -> None:
    task = mapped(taking("text", optional="hint"))
    map_frame(task, pd.DataFrame({"text": ["a"], "hint": [float("nan")], "other": [1]}), concurrency=3)
    assert task.rows == [{"text": "a", "hint": None}]
    assert task.options == {"concurrency": 3}


def test_numbers_come_in_as_pythons_own() -> None:
    task = mapped(taking("text", "n"))
    map_frame(task, pd.DataFrame({"text": ["a"], "n": pd.array([3], dtype="Int64")}))
    assert type(task.rows[0]["n"]) is int


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="no column 'text'"):
        map_frame(mapped(), pd.DataFrame({"txt": ["a"]}))
    with pytest.raises(InputError, match="data frame with these columns"):
        map_frame(mapped(taking("a", "b")), pl.Series(["x"]))
    with pytest.raises(InputError, match="collect"):
        map_frame(mapped(), pl.LazyFrame({"text": ["a"]}))
    with pytest.raises(InputError, match="not list"):
        map_frame(mapped(), ["a"])


def test_frames_are_told_from_other_rows() -> None:
    assert is_frame(pd.Series(dtype=object))
    assert is_frame(pl.DataFrame())
    assert not any(map(is_frame, (["a"], {"a": 1}, iter("a"), "text", ServiceError("x"))))


def test_an_empty_frame_gives_an_empty_frame() -> None:
    assert map_frame(mapped(), pd.DataFrame({"text": []})).shape == (0, len(COLUMNS))
    assert map_frame(mapped(), pl.DataFrame({"text": []}, schema={"text": pl.String})).height == 0


def test_the_real_map_takes_and_gives_frames() -> None:
    client = ScriptedClient(lambda request: "positive" if "good" in request.messages[-1].content else "negative")
    task = PLAIN.using(client=client)
    texts = pd.Series(["good", "bad", None, "good"], index=list("abcd"))
    assert task.map(texts).to_dict() == {"a": "positive", "b": "negative", "c": None, "d": "positive"}
    found = task.map(pl.DataFrame({"text": ["good", "bad"]}))
    assert found["value"].to_list() == ["positive", "negative"]


@pytest.mark.parametrize("make", ["table", "batch", "relation"])
def test_arrow_tables_and_duckdb_relations_go_in_and_a_table_of_results_comes_out(make: str) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra 'bulk' is not installed")
    table = pa.table({"Text": ["good", None, "bad"], "n": [1, 2, 3]})
    given: Any = table
    if make == "batch":
        given = table.to_batches()[0]
    elif make == "relation":
        given = pytest.importorskip("duckdb", reason="duckdb is not installed").from_arrow(table)
    found = map_frame(mapped(), given)
    assert found.column_names == list(COLUMNS)
    assert found["value"].to_pylist() == ["positive", None, "negative"]
    assert found["confidence"].to_pylist() == [0.75, None, 0.75]


def test_arrow_arrays_are_series() -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra 'bulk' is not installed")
    for texts in (pa.array(["good", "bad"]), pa.chunked_array([["good"], ["bad"]])):
        assert map_frame(mapped(), texts).to_pylist() == ["positive", "negative"]


def test_cells_that_hold_lists_are_not_missing() -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra 'bulk' is not installed")
    np = pytest.importorskip("numpy")
    rows = [{"text": "a", "answers": ["x", "y"]}]
    assert frame_records(pa.Table.from_pylist(rows)) == rows
    assert frame_records(pd.DataFrame({"text": ["a"], "answers": [np.array(["x", "y"])]})) == rows


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="column"):
        map_frame(mapped(), pd.DataFrame([["a", "b"]], columns=["text", "text"]))
