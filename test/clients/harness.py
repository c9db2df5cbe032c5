"""Runs a client's features one after another and prints a JSON line for each: {feature, ok, detail}
or {feature, skipped}."""

import json
import os
import traceback

URL = os.environ["ICDPO_URL"]
KEY = os.environ["ICDPO_KEY"]
LARGER_URL = os.environ.get("ICDPO_LARGER_URL")
QUESTION = [{"role": "user", "content": "Name a fruit."}]
WEATHER_QUESTION = [{"role": "user", "content": "How warm is it in Paris? Use celsius."}]
SCHEMA = {
    "title": "fruit",
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "colour": {"enum": ["red", "green", "yellow"]},
        "grams": {"type": "integer", "minimum": 1, "maximum": 999},
    },
    "required": ["name", "colour", "grams"],
    "additionalProperties": False,
}
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}


def check_fruit(fruit):
    assert isinstance(fruit["name"], str) and fruit["colour"] in SCHEMA["properties"]["colour"]["enum"], fruit
    assert isinstance(fruit["grams"], int) and 1 <= fruit["grams"] <= 999, fruit


def check_weather(call):
    assert isinstance(call["city"], str) and call["unit"] in ("celsius", "fahrenheit"), call


class Skipped(Exception):
    pass


used = []


def larger():
    """The address of a gateway with a larger model, for what the default one is too small for."""
    if LARGER_URL is None:
        raise Skipped("ICDPO_CHECK_LARGER_MODEL is not set")
    used.append(LARGER_URL)
    return LARGER_URL


def run_features(client, features):
    print(json.dumps({"client": client}), flush=True)
    only = os.environ.get("ICDPO_ONLY", "")
    for feature, check in features.items():
        if only and only not in feature and only not in client:
            continue
        used.clear()
        try:
            check()
            print(json.dumps({"feature": feature, "ok": True, "larger": len(used) > 0}), flush=True)
        except Skipped as reason:
            print(json.dumps({"feature": feature, "skipped": str(reason)}), flush=True)
        except Exception:
            print(json.dumps({"feature": feature, "ok": False, "detail": traceback.format_exc()[-1200:]}), flush=True)
