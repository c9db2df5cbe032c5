"""What llama.cpp's server tests import: the same names, but the server is this gateway, with one plain route that has llama-server's alias."""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
from typing import Iterator

import requests

START_SECONDS = 120
PROGRAM = os.environ["ICDPO_PROGRAM"].split("\n")
running: set["ServerProcess"] = set()


class ServerResponse:
    headers: dict
    status_code: int
    body: dict


class ServerError(Exception):
    def __init__(self, code, body):
        self.code = code
        self.body = body


class ServerProcess:
    """Attributes that a test sets become the gateway's settings; what has no meaning here (jinja, debug …) is ignored."""

    def __init__(self):
        self.server_host = "127.0.0.1"
        self.server_port = free_port()
        self.model_alias = "tinyllama-2"
        self.api_key = None
        self.n_ctx = 512
        self.n_slots = 2
        self.n_predict = 64
        self.seed = 42
        self.process = None

    def start(self):
        folder = tempfile.mkdtemp(prefix="policies-")
        sampling = f"sampling: {{ temperature: 0, max_tokens: {self.n_predict} }}\n"
        write(folder, "plain.yaml", f"candidates: 1\nscore: {{ type: none }}\n{sampling}")
        write(folder, "routes.yaml", f"routes: {{ {self.model_alias}: {{ policy: plain }} }}\ndefault: {self.model_alias}\n")
        settings = {
            "PORT": str(self.server_port),
            "ICDPO_POLICIES": folder,
            "ICDPO_CONTEXT_SIZE": str(self.n_ctx // self.n_slots),
            "ICDPO_LOG_LEVEL": "error",
        }
        if self.api_key is not None:
            settings["ICDPO_API_KEYS"] = f"test={self.api_key}"
        self.process = subprocess.Popen(PROGRAM, env={**os.environ, **settings}, stderr=subprocess.DEVNULL)
        running.add(self)
        end = time.time() + START_SECONDS
        while time.time() < end and self.process.poll() is None:
            try:
                if requests.get(f"http://{self.server_host}:{self.server_port}/ready", timeout=5).status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        raise RuntimeError("The gateway did not start")

    def stop(self):
        running.discard(self)
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def make_url(self, path: str) -> str:
        # llama-server has the API with and without /v1; the gateway has it with /v1.
        base = "" if path.startswith(("/v1", "/health")) else "/v1"
        return f"http://{self.server_host}:{self.server_port}{base}{path}"

    def make_request(self, method, path, data=None, headers=None, timeout=60) -> ServerResponse:
        response = requests.request(method, self.make_url(path), headers=headers, json=with_model(data), timeout=timeout)
        result = ServerResponse()
        result.headers = dict(response.headers)
        result.status_code = response.status_code
        result.body = response.json() if method in ("GET", "POST") else None
        return result

    def make_stream_request(self, method, path, data=None, headers=None) -> Iterator[dict]:
        response = requests.request(method, self.make_url(path), headers=headers, json=with_model(data), stream=True, timeout=60)
        if response.status_code != 200:
            raise ServerError(response.status_code, response.json())
        for line in response.iter_lines():
            text = line.decode("utf-8")
            if "[DONE]" in text:
                return
            if text.startswith("data: "):
                yield json.loads(text[6:])


class ServerPreset:
    @staticmethod
    def load_all():
        pass

    @staticmethod
    def tinyllama2() -> ServerProcess:
        return ServerProcess()


def with_model(data):
    """llama-server needs no model; the gateway serves any name by its default route, but wants one."""
    if isinstance(data, dict) and data.get("model") is None:
        return {**data, "model": "any"}
    return data


def match_regex(regex: str, text: str) -> bool:
    return re.compile(regex, flags=re.IGNORECASE | re.MULTILINE | re.DOTALL).search(text) is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write(folder: str, name: str, text: str):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
