"""smolagents: its model for OpenAI's protocol, an agent with tools."""

from importlib.metadata import version

from harness import KEY, URL, larger, run_features
from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent, tool

QUESTION = [{"role": "user", "content": [{"type": "text", "text": "Name a fruit."}]}]


def make(model="plain", url=URL, tokens=12, **more):
    return OpenAIModel(model_id=model, api_base=f"{url}/v1", api_key=KEY, max_tokens=tokens, **more)


def text(model):
    def check():
        assert make(model)([ChatMessage.from_dict(QUESTION[0])]).content

    return check


def stream():
    assert "".join(delta.content or "" for delta in make().generate_stream([ChatMessage.from_dict(QUESTION[0])]))


asked = []


@tool
def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The city.
    """
    asked.append(city)
    return "19 degrees, sunny"


def agent():
    model = make(url=larger(), tokens=200, temperature=0)
    helper = ToolCallingAgent(tools=[get_weather], model=model, max_steps=3, verbosity_level=0)
    assert helper.run("How warm is it in Paris now?") and asked


def calls():
    message = make(tokens=200).generate([ChatMessage.from_dict(QUESTION[0])], tools_to_call_from=[get_weather])
    assert message.tool_calls[0].function.name == "get_weather", message


run_features(
    f"smolagents {version('smolagents')}",
    {"chat": text("plain"), "scored": text("icdpo"), "stream": stream, "tools": calls, "agent with a tool": agent},
)
