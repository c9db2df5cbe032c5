"""LangChain for Python."""

from importlib.metadata import version

import openai
from harness import KEY, SCHEMA, URL, WEATHER, check_fruit, check_weather, run_features
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

COMMON = {"base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0}
ASK = "Name a fruit."
QUESTION = HumanMessage("How warm is it in Paris? Use celsius.")
TOOLS = [{"type": "function", "function": WEATHER}]


def chat(model, **options):
    return ChatOpenAI(**{"model": model, "max_tokens": 12, **COMMON, **options})


def check(holds):
    assert holds


def text(stream):
    return "".join(chunk.text for chunk in stream)


def whole(stream):
    total = None
    for chunk in stream:
        total = chunk if total is None else total + chunk
    return total


def calling(**options):
    return chat("plain", **{"max_tokens": 150, **options}).bind_tools(TOOLS, tool_choice="required")


def structured(**options):
    return chat("plain", max_tokens=100).with_structured_output(SCHEMA, method="json_schema", **options)


def tool_result():
    answer = calling().invoke([QUESTION])
    results = [ToolMessage(tool_call_id=call["id"], content="19 degrees") for call in answer.tool_calls]
    check(chat("plain").invoke([QUESTION, answer, *results]).text)


def errors():
    try:
        chat("none").invoke(ASK)
        raise AssertionError("No error came")
    except openai.NotFoundError:
        pass


def stop_seed():
    one, two = (chat("plain", seed=7).invoke(ASK, stop=["."]).text for _ in range(2))
    check("." not in one and one == two)


def abort():
    stream = chat("plain", max_tokens=200).stream(ASK)
    next(stream)
    stream.close()


run_features(
    f"LangChain (Python) {version('langchain-openai')}",
    {
        "chat": lambda: check(chat("plain").invoke(ASK).text),
        "scored": lambda: check(chat("icdpo").invoke(ASK).text),
        "stream": lambda: check(text(chat("plain").stream(ASK))),
        "scored stream": lambda: check(text(chat("icdpo").stream(ASK))),
        "usage": lambda: check(whole(chat("plain", stream_usage=True).stream(ASK)).usage_metadata["output_tokens"] > 0),
        "n, stop, seed": stop_seed,
        "JSON schema": lambda: check_fruit(structured(strict=True).invoke(ASK)),
        "JSON schema stream": lambda: check_fruit(list(structured().stream(ASK))[-1]),
        "tools": lambda: check_weather(calling().invoke([QUESTION]).tool_calls[0]["args"]),
        "tools stream": lambda: check_weather(whole(calling().stream([QUESTION])).tool_calls[0]["args"]),
        "tool result": tool_result,
        "logprobs": lambda: check(chat("plain", logprobs=True, top_logprobs=2).invoke(ASK).response_metadata["logprobs"]["content"]),
        # The other way sends token ids of OpenAI's own tokenizer.
        "embeddings": lambda: check(len(OpenAIEmbeddings(model="plain", check_embedding_ctx_length=False, **COMMON).embed_query("fruit")) == 384),
        "completions": lambda: check(OpenAI(model="plain", max_tokens=5, **COMMON).invoke("A fruit is")),
        "responses": lambda: check(chat("icdpo", use_responses_api=True).invoke(ASK).text),
        "responses stream": lambda: check(text(chat("plain", use_responses_api=True).stream(ASK))),
        "responses tools": lambda: check_weather(calling(use_responses_api=True).invoke([QUESTION]).tool_calls[0]["args"]),
        "responses JSON": lambda: check_fruit(
            chat("plain", max_tokens=100, use_responses_api=True).with_structured_output(SCHEMA, method="json_schema", strict=True).invoke(ASK)
        ),
        "errors": errors,
        "abort": abort,
    },
)
