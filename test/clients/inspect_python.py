"""Inspect, which evaluates models: chat completions and responses, tools, log-probabilities, schemas."""

import asyncio
import os
import tempfile
from importlib.metadata import version

os.environ["INSPECT_LOG_DIR"] = tempfile.mkdtemp()
os.environ["INSPECT_DISPLAY"] = "none"

from typing import Literal  # noqa: E402

from harness import KEY, URL, run_features  # noqa: E402
from inspect_ai import Task, eval as evaluate  # noqa: E402
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, ResponseSchema, get_model  # noqa: E402
from inspect_ai.scorer import includes  # noqa: E402
from inspect_ai.tool import ToolInfo, ToolParam, ToolParams  # noqa: E402
from inspect_ai.util import json_schema  # noqa: E402
from pydantic import BaseModel  # noqa: E402


class Fruit(BaseModel):
    name: Literal["apple", "banana"]
    sweet: bool


def make(model="plain", **more):
    return get_model(f"openai-api/gateway/{model}", base_url=f"{URL}/v1", api_key=KEY, memoize=False, **more)


def generate(model, tokens=12, tools=(), tool_choice=None, **config):
    asked = model.generate("Name a fruit.", tools=list(tools), tool_choice=tool_choice, config=GenerateConfig(max_tokens=tokens, max_retries=0, **config))
    return asyncio.run(asked)


def text(model, **more):
    def check():
        assert generate(make(model, **more)).completion

    return check


def task():
    samples = [Sample(input="Name a fruit.", target="a"), Sample(input="Name a colour.", target="e")]
    [log] = evaluate(Task(dataset=samples, scorer=includes()), model=make(), max_tokens=12, max_retries=0)
    assert log.status == "success" and log.results.scores, log.error


def logprobs():
    assert generate(make(), logprobs=True, top_logprobs=2).choices[0].logprobs.content


def schema():
    wanted = ResponseSchema(name="fruit", json_schema=json_schema(Fruit), strict=True)
    Fruit.model_validate_json(generate(make(), tokens=200, response_schema=wanted).completion)


def tools():
    parameters = ToolParams(properties={"city": ToolParam(type="string", enum=["Paris", "Rome"])}, required=["city"])
    info = ToolInfo(name="get_weather", description="The weather in a city.", parameters=parameters)
    [call, *_] = generate(make(), tokens=150, tools=[info], tool_choice="any").message.tool_calls
    assert call.function == "get_weather" and "city" in call.arguments, call


run_features(
    f"Inspect {version('inspect-ai')}",
    {
        "chat": text("plain"),
        "scored": text("icdpo"),
        "responses": text("plain", responses_api=True),
        "a task with a score": task,
        "logprobs": logprobs,
        "JSON schema": schema,
        "tools": tools,
    },
)
