"""Instructor, every mode that it has for OpenAI's protocols."""

from importlib.metadata import version
from typing import Iterable, Literal

import instructor
from harness import KEY, URL, larger, run_features
from openai import OpenAI
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "Name a fruit: its name, its colour, its weight in grams."}]


class Fruit(BaseModel):
    """A fruit."""

    name: str = Field(max_length=20)
    colour: Literal["red", "green", "yellow"]
    grams: int = Field(ge=1, le=999)


# No grammar holds to the schema in these: it stands in the prompt, or the model may call as it likes.
LOOSE = (instructor.Mode.JSON, instructor.Mode.JSON_O1, instructor.Mode.MD_JSON, instructor.Mode.PARALLEL_TOOLS)


def make(mode):
    url = larger() if mode in LOOSE else URL
    return instructor.from_openai(OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0), mode=mode)


def asks(mode, model="plain", response_model=Fruit, limit=None):
    def check():
        tokens = limit or ({"max_output_tokens": 200} if mode.name.startswith("RESPONSES") else {"max_tokens": 200})
        client = make(mode)
        fruit = client.create(model=model, messages=QUESTION, response_model=response_model, max_retries=1, **tokens)
        if response_model is not Fruit:
            fruit = list(fruit)[0]
        assert isinstance(fruit, Fruit), fruit

    return check


def partial():
    last = None
    for last in make(instructor.Mode.TOOLS).create_partial(
        model="plain", messages=QUESTION, response_model=Fruit, max_tokens=200, max_retries=1
    ):
        pass
    assert last is not None and last.name is not None, last


def several():
    found = make(instructor.Mode.TOOLS).create_iterable(
        model="plain", messages=QUESTION, response_model=Fruit, max_tokens=400, max_retries=1
    )
    assert isinstance(next(iter(found)), Fruit)


Mode = instructor.Mode
run_features(
    f"Instructor {version('instructor')}",
    {
        "mode TOOLS": asks(Mode.TOOLS),
        "mode TOOLS, scored": asks(Mode.TOOLS, model="icdpo"),
        "mode TOOLS_STRICT": asks(Mode.TOOLS_STRICT),
        "mode PARALLEL_TOOLS": asks(Mode.PARALLEL_TOOLS, response_model=Iterable[Fruit]),
        "mode FUNCTIONS": asks(Mode.FUNCTIONS),
        "mode JSON": asks(Mode.JSON),
        "mode JSON_O1": asks(Mode.JSON_O1, limit={"max_completion_tokens": 200}),
        "mode MD_JSON": asks(Mode.MD_JSON),
        "mode JSON_SCHEMA": asks(Mode.JSON_SCHEMA),
        "mode RESPONSES_TOOLS": asks(Mode.RESPONSES_TOOLS),
        "partial answers, streamed": partial,
        "several, streamed": several,
    },
)
