"""Anthropic's own client for Python."""

import json

import anthropic
from anthropic import Anthropic, AuthenticationError, BadRequestError, NotFoundError
from harness import KEY, QUESTION, SCHEMA, URL, WEATHER, WEATHER_QUESTION, check_fruit, check_weather, run_features

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
PLAIN = {"model": "plain", "messages": QUESTION, "max_tokens": 12}
FRUIT = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}, "max_tokens": 100}
TOOLS = {
    "messages": WEATHER_QUESTION,
    "tools": [{"name": WEATHER["name"], "description": WEATHER["description"], "input_schema": WEATHER["parameters"]}],
    "tool_choice": {"type": "any"},
    "max_tokens": 150,
}


def check(holds):
    assert holds


def create(**body):
    return client.messages.create(**{**PLAIN, **body})


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def streamed(**body):
    with client.messages.stream(**{**PLAIN, **body}) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == text_of(message)
    return message


def check_calls(message):
    assert message.stop_reason == "tool_use", message.stop_reason
    calls = [block for block in message.content if block.type == "tool_use"]
    assert calls
    for call in calls:
        check_weather(call.input)


def usage():
    used = streamed().usage
    counted = client.messages.count_tokens(model="plain", messages=QUESTION).input_tokens
    assert used.input_tokens + used.cache_read_input_tokens == counted and used.output_tokens > 0, (used, counted)


def stop_sequence():
    message = create(max_tokens=100, extra_body={"temperature": 0}, stop_sequences=["a", "e"])
    assert message.stop_reason == "stop_sequence" and message.stop_sequence in ("a", "e")
    assert "a" not in text_of(message) and "e" not in text_of(message)


def tool_result():
    content = create(**TOOLS).content
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "19 degrees"} for block in content if block.type == "tool_use"]
    messages = [*WEATHER_QUESTION, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    assert text_of(create(**{**TOOLS, "messages": messages, "tool_choice": {"type": "none"}}))


def beta_messages():
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = client.beta.messages.create(
        **{**PLAIN, "max_tokens": 2000}, thinking=thinking, stop_sequences=["."], betas=["interleaved-thinking-2025-05-14"]
    )
    assert all(block.type == "text" for block in message.content)


def errors():
    for kind, act in (
        (NotFoundError, lambda: create(model="none")),
        (BadRequestError, lambda: create(extra_body={"temperature": 9})),
        (AuthenticationError, lambda: Anthropic(base_url=URL, api_key="wrong", max_retries=0).messages.create(**PLAIN)),
    ):
        try:
            act()
            raise AssertionError(f"No {kind.__name__}")
        except kind as error:
            assert error.request_id.startswith("req_"), error


def abort():
    stream = create(max_tokens=200, stream=True)
    next(iter(stream))
    stream.close()


run_features(
    f"anthropic (Python) {anthropic.__version__}",
    {
        "models": lambda: check(any(model.id == "plain" for model in client.models.list())),
        "chat": lambda: check(text_of(create(system="Be brief."))),
        "scored": lambda: check(text_of(create(model="icdpo"))),
        "stream": lambda: check(text_of(streamed())),
        "scored stream": lambda: check(text_of(streamed(model="icdpo"))),
        "usage": usage,
        "stop sequence": stop_sequence,
        "JSON schema": lambda: check_fruit(json.loads(text_of(create(**FRUIT)))),
        "JSON schema stream": lambda: check_fruit(json.loads(text_of(streamed(**FRUIT)))),
        "tools": lambda: check_calls(create(**TOOLS)),
        "tools stream": lambda: check_calls(streamed(**TOOLS)),
        "tool result": tool_result,
        "beta messages": beta_messages,
        "errors": errors,
        "abort": abort,
    },
)
