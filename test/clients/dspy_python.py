"""DSPy, through LiteLLM's library, with its adapters."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import dspy  # noqa: E402
from harness import KEY, URL, larger, run_features  # noqa: E402


def make(model="plain", url=URL, tokens=150, **more):
    return dspy.LM(f"openai/{model}", api_base=f"{url}/v1", api_key=KEY, cache=False, num_retries=0, max_tokens=tokens, **more)


def text(model, **more):
    def check():
        assert make(model, tokens=12, **more)("Name a fruit.")

    return check


class Fruit(dspy.Signature):
    """Name a fruit."""

    wish: str = dspy.InputField()
    name: str = dspy.OutputField()
    sweet: bool = dspy.OutputField()


def predict(adapter):
    def check():
        with dspy.context(lm=make(url=larger()), adapter=adapter):
            assert isinstance(dspy.Predict(Fruit)(wish="something yellow").sweet, bool)

    return check


def react():
    asked = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "19 degrees, sunny"

    with dspy.context(lm=make(url=larger(), tokens=200, temperature=0), adapter=dspy.JSONAdapter()):
        assert dspy.ReAct("question -> answer", tools=[get_weather], max_iters=3)(question="How warm is it in Paris?").answer
    assert asked


run_features(
    f"DSPy {dspy.__version__}",
    {
        "chat": text("plain"),
        "scored": text("icdpo"),
        "responses": text("plain", model_type="responses"),
        "signature as JSON": predict(dspy.JSONAdapter()),
        "agent with a tool": react,
    },
)
