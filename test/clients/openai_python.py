"""OpenAI's own client for Python."""

import json

import openai
from harness import KEY, QUESTION, SCHEMA, URL, WEATHER, WEATHER_QUESTION, check_fruit, check_weather, run_features
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
PLAIN = {"model": "plain", "messages": QUESTION, "max_tokens": 12}
FRUIT = {"response_format": {"type": "json_schema", "json_schema": {"name": "fruit", "strict": True, "schema": SCHEMA}}, "max_tokens": 100}
TOOLS = {
    "messages": WEATHER_QUESTION,
    "tools": [{"type": "function", "function": WEATHER}],
    "tool_choice": "required",
    "max_tokens": 150,
}


def check(holds):
    assert holds


def create(**body):
    return client.chat.completions.create(**{**PLAIN, **body})


def streamed(**body):
    text, usage = "", None
    for chunk in create(**body, stream=True, stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    return text, usage


def n_stop_seed():
    one, two = (create(n=2, stop=["."], seed=7) for _ in range(2))
    assert len(one.choices) == 2 and "." not in one.choices[0].message.content
    assert one.choices[1].message.content == two.choices[1].message.content


def tool_stream():
    arguments = ""
    for chunk in create(**TOOLS, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments += call.function.arguments if call.index == 0 else ""
    check_weather(json.loads(arguments))


def tool_result():
    message = create(**TOOLS).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "19 degrees"} for call in message.tool_calls]
    assert create(messages=[*WEATHER_QUESTION, message, *results]).choices[0].message.content


def logprobs():
    choice = create(logprobs=True, top_logprobs=2).choices[0]
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content


def responses_stream():
    types = []
    with client.responses.stream(model="plain", input="Name a fruit.", max_output_tokens=12) as stream:
        for event in stream:
            types.append(event.type)
    assert "response.output_text.delta" in types and types[-1] in ("response.completed", "response.incomplete"), types


def responses_tools():
    tools = [{"type": "function", "strict": True, **WEATHER}]
    output = client.responses.create(
        model="plain", input=WEATHER_QUESTION, tools=tools, tool_choice="required", max_output_tokens=150
    ).output
    check_weather(json.loads(next(item for item in output if item.type == "function_call").arguments))


def responses_json():
    text = {"format": {"type": "json_schema", "name": "fruit", "strict": True, "schema": SCHEMA}}
    check_fruit(json.loads(client.responses.create(model="plain", input="Name a fruit.", text=text, max_output_tokens=100).output_text))


def errors():
    for kind, act in (
        (NotFoundError, lambda: create(model="none")),
        (BadRequestError, lambda: create(temperature=9)),
        (AuthenticationError, lambda: OpenAI(base_url=f"{URL}/v1", api_key="wrong", max_retries=0).models.list()),
    ):
        try:
            act()
            raise AssertionError(f"No {kind.__name__}")
        except kind:
            pass


def abort():
    stream = create(max_tokens=200, stream=True)
    next(iter(stream))
    stream.close()


run_features(
    f"openai (Python) {openai.__version__}",
    {
        "models": lambda: check(any(model.id == "plain" for model in client.models.list().data)),
        "chat": lambda: check(create().choices[0].message.content),
        "scored": lambda: check(create(model="icdpo").choices[0].message.content),
        "stream": lambda: check(streamed()[0]),
        "scored stream": lambda: check(streamed(model="icdpo")[0]),
        "usage": lambda: check(streamed()[1].completion_tokens > 0),
        "n, stop, seed": n_stop_seed,
        "JSON schema": lambda: check_fruit(json.loads(create(**FRUIT).choices[0].message.content)),
        "JSON schema stream": lambda: check_fruit(json.loads(streamed(**FRUIT)[0])),
        "tools": lambda: check_weather(json.loads(create(**TOOLS).choices[0].message.tool_calls[0].function.arguments)),
        "tools stream": tool_stream,
        "tool result": tool_result,
        "logprobs": logprobs,
        "embeddings": lambda: check(len(client.embeddings.create(model="plain", input="fruit").data[0].embedding) == 384),
        "completions": lambda: check(client.completions.create(model="plain", prompt="A fruit is", max_tokens=5).choices[0].text),
        "responses": lambda: check(client.responses.create(model="icdpo", input="Name a fruit.", max_output_tokens=12).output_text),
        "responses stream": responses_stream,
        "responses tools": responses_tools,
        "responses JSON": responses_json,
        "errors": errors,
        "abort": abort,
    },
)
