"""Pydantic AI: its models for chat completions and for responses, every kind of output that it knows."""

from importlib.metadata import version
from typing import Literal

from harness import KEY, URL, larger, run_features
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

QUESTION = "Name a fruit: its name, its colour, its weight in grams."


class Fruit(BaseModel):
    """A fruit."""

    name: str = Field(max_length=20)
    colour: Literal["red", "green", "yellow"]
    grams: int = Field(ge=1, le=999)


def make(name="plain", kind=OpenAIChatModel, url=URL):
    return kind(name, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY))


def text(model, tokens=12):
    def check():
        assert Agent(model, model_settings={"max_tokens": tokens}).run_sync("Name a fruit.").output

    return check


def fruit(model, output):
    def check():
        # What no grammar holds to is too much for the default model.
        agent = Agent(model(url=larger()) if callable(model) else model, output_type=output, model_settings={"max_tokens": 200}, retries=3)
        assert isinstance(agent.run_sync(QUESTION).output, Fruit)

    return check


def stream(model):
    def check():
        agent = Agent(model, model_settings={"max_tokens": 12})
        result = agent.run_stream_sync("Name a fruit.")
        assert list(result.stream_text())

    return check


def tools(kind):
    def check():
        asked = []
        agent = Agent(make("plain", kind, larger()), model_settings={"max_tokens": 150, "temperature": 0})

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """The weather in a city."""
            asked.append(city)
            return "19 degrees, sunny"

        answer = agent.run_sync("How warm is it in Paris now? Use the tool.").output
        assert asked and answer, (asked, answer)

    return check


run_features(
    f"Pydantic AI {version('pydantic-ai-slim')}",
    {
        "chat": text(make()),
        "scored": text(make("icdpo")),
        "stream": stream(make()),
        "scored stream": stream(make("icdpo")),
        "output as a tool": fruit(make(), ToolOutput(Fruit)),
        "output as a tool, scored": fruit(make("icdpo"), ToolOutput(Fruit)),
        "native output": fruit(make(), NativeOutput(Fruit)),
        "prompted output": fruit(make, PromptedOutput(Fruit)),
        "responses": text(make(kind=OpenAIResponsesModel)),
        "responses stream": stream(make(kind=OpenAIResponsesModel)),
        "responses, output as a tool": fruit(make(kind=OpenAIResponsesModel), ToolOutput(Fruit)),
        "responses, native output": fruit(make(kind=OpenAIResponsesModel), NativeOutput(Fruit)),
        "agent with a tool": tools(OpenAIChatModel),
        "responses, agent with a tool": tools(OpenAIResponsesModel),
    },
)
