"""A web endpoint that tells the sentiment of a text, with its probability.

pip install '.[local]' fastapi uvicorn  (in a checkout; 'fewshot[local]' from an index)
uvicorn --factory fastapi_endpoint:create_app
curl -s localhost:8000/sentiment -H 'content-type: application/json' -d '{"text": "I love this phone."}'

Which model answers is decided by the environment (OPENAI_API_KEY, FEWSHOT_MODEL, FEWSHOT_BASE_URL). Calls do not
block the event loop, and all of them share one connection pool.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from fewshot import InputError, ServiceError, load


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    label: str | None
    """None when the model was not sure enough."""
    probabilities: dict[str, float] | None
    model: str


def create_app() -> Any:
    from fastapi import FastAPI, HTTPException

    app = FastAPI()
    task = load("sentiment", timeout=20, min_confidence=0.5)

    @app.post("/sentiment")
    async def sentiment(question: Question) -> Answer:
        try:
            result = await task.arun(question.text)
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        if result.error is not None:
            status = 503 if isinstance(result.error, ServiceError) else 502
            raise HTTPException(status, type(result.error).__name__)
        if result.confidence is None:  # nothing can be sure enough here, so every answer would be None without a word
            raise HTTPException(501, f"{result.model} gives no confidence: load the task with votes=5")
        chances = None if result.probabilities is None else dict(result.probabilities)
        return Answer(label=result.value, probabilities=chances, model=result.model)

    return app
