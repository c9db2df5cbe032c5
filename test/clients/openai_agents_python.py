"""OpenAI's Agents SDK: its models for chat completions and for responses, tools, outputs, handoffs."""

import asyncio
from importlib.metadata import version
from typing import Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from harness import KEY, URL, larger, run_features
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

set_tracing_disabled(True)
BOTH = (OpenAIChatCompletionsModel, OpenAIResponsesModel)


class Fruit(BaseModel):
    name: str = Field(max_length=20)
    colour: Literal["red", "green", "yellow"]
    grams: int = Field(ge=1, le=999)


def make(kind, model="plain", url=URL):
    return kind(model=model, openai_client=AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0))


def agent(kind, model="plain", url=URL, tokens=12, **more):
    settings = ModelSettings(max_tokens=tokens, temperature=0 if "tools" in more else None)
    return Agent(name="Helper", instructions="Be brief.", model=make(kind, model, url), model_settings=settings, **more)


def enough(kind):
    """With the Responses API it takes an answer that was cut for an error."""
    return 12 if kind is OpenAIChatCompletionsModel else 400


def text(kind, model="plain"):
    def check():
        assert asyncio.run(Runner.run(agent(kind, model, tokens=enough(kind)), "Name a fruit.")).final_output

    return check


def stream(kind):
    async def run():
        result = Runner.run_streamed(agent(kind, tokens=enough(kind)), "Name a fruit.")
        kinds = [event.type async for event in result.stream_events()]
        assert "raw_response_event" in kinds and result.final_output, kinds

    return lambda: asyncio.run(run())


def output(kind):
    def check():
        found = asyncio.run(Runner.run(agent(kind, tokens=200, output_type=Fruit), "Name a fruit.")).final_output
        assert isinstance(found, Fruit), found

    return check


def tools(kind):
    def check():
        asked = []

        @function_tool
        def get_weather(city: str) -> str:
            """The weather in a city."""
            asked.append(city)
            return "19 degrees, sunny"

        helper = agent(kind, url=larger(), tokens=150, tools=[get_weather])
        answer = asyncio.run(Runner.run(helper, "How warm is it in Paris now? Use the tool.", max_turns=4)).final_output
        assert asked and answer, (asked, answer)

    return check


chat, responses = BOTH
run_features(
    f"OpenAI Agents SDK {version('openai-agents')}",
    {
        "chat": text(chat),
        "scored": text(chat, "icdpo"),
        "stream": stream(chat),
        "JSON schema": output(chat),
        "responses": text(responses),
        "responses stream": stream(responses),
        "responses JSON": output(responses),
        "agent with a tool": tools(chat),
        "responses, agent with a tool": tools(responses),
    },
)
