"""Four tracers that people use, each set up as its documentation says, see every call with its model and tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from fault_server import FaultServer

pytestmark = pytest.mark.slow  # each in a process of its own, since they wrap classes for good

SPANS = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, tracers = InMemorySpanExporter(), TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))

def seen(model, given, taken):
    spans = [span.attributes for span in exporter.get_finished_spans() if model in span.attributes]
    return [[about[model], about[given], about[taken]] for about in spans]
"""
CALL = "from fewshot import classify_sentiment\nassert classify_sentiment('Lovely.'{more}) == 'positive'\n"
TRACERS = {
    "opentelemetry.instrumentation.openai": SPANS
    + "from opentelemetry.instrumentation.openai import OpenAIInstrumentor\n"
    + "OpenAIInstrumentor().instrument(tracer_provider=tracers)\n"
    + CALL.format(more="")
    + "found = seen('gen_ai.request.model', 'gen_ai.usage.input_tokens', 'gen_ai.usage.output_tokens')\n",
    "openinference.instrumentation.openai": SPANS
    + "from openinference.instrumentation.openai import OpenAIInstrumentor\n"
    + "OpenAIInstrumentor().instrument(tracer_provider=tracers)\n"
    + CALL.format(more="")
    + "found = seen('llm.model_name', 'llm.token_count.prompt', 'llm.token_count.completion')\n",
    "langfuse": SPANS
    + "from langfuse import Langfuse\nfrom langfuse.openai import openai\n"
    + "Langfuse(public_key='pk', secret_key='sk', host='http://127.0.0.1:9', tracer_provider=tracers)\n"
    + CALL.format(more="")
    + """
import json
name, usage = 'langfuse.observation.model.name', 'langfuse.observation.usage_details'
spans = [span.attributes for span in exporter.get_finished_spans() if name in span.attributes]
counts = [json.loads(about[usage]) for about in spans]
found = [[about[name], c["prompt_tokens"], c["completion_tokens"]] for about, c in zip(spans, counts)]
""",
    "langsmith": """
import openai
from langsmith import Client, tracing_context
from langsmith.wrappers import wrap_openai

class Runs(Client):
    runs = {}
    def create_run(self, name, inputs, run_type, **about):
        self.runs[str(about["id"])] = about
    def update_run(self, run_id, **about):
        self.runs[str(run_id)].update(about)

client = wrap_openai(openai.OpenAI(max_retries=0))
tracer = Runs(api_url="http://127.0.0.1:9", api_key="ls", auto_batch_tracing=False)
with tracing_context(enabled=True, client=tracer):
"""
    + "".join(f"    {line}\n" for line in CALL.format(more=", client=client, model='m'").splitlines())
    + """
done = [(run["extra"]["metadata"]["ls_model_name"], run["outputs"]["usage_metadata"]) for run in tracer.runs.values()]
found = [[model, usage["input_tokens"], usage["output_tokens"]] for model, usage in done]
""",
}


@pytest.fixture(scope="module")
def service() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.answer = lambda _: "positive"
        yield server


@pytest.mark.parametrize("tracer", TRACERS)
def test_a_tracer_sees_each_call_with_its_model_and_tokens(tracer: str, service: FaultServer) -> None:
    try:
        there = find_spec(tracer) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        pytest.skip(f"{tracer} is not installed")
    service.requests.clear()
    env = {**os.environ, "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": service.base_url, "FEWSHOT_MODEL": "m"}
    env["FEWSHOT_BASE_URL"] = service.base_url
    at_once = "import json, os\nprint('FOUND', json.dumps(found), flush=True)\nos._exit(0)"  # no waiting for servers
    script = TRACERS[tracer] + at_once
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found = json.loads(line.removeprefix("FOUND "))
    assert len(found) == len(service.requests) > 0
    assert all(model == "m" and given > 0 and taken > 0 for model, given, taken in found)
