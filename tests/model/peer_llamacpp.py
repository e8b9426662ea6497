"""Run by llama.cpp's interpreter: reads a request as JSON on stdin, answers as JSON on its last line.

Request: ``model`` (a GGUF file), ``context`` (positions), ``vocab_size``, ``plain_id`` (a token that is whole
characters), ``prompts`` (ids), ``new_tokens``, ``texts`` to tokenize and ``chats`` to render. Keys and values are kept
in F32 and flash attention is off, so that what differs is the model and not the cache.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.request import Request, urlopen


def main() -> None:
    import xllamacpp

    asked = json.load(sys.stdin)
    params = xllamacpp.CommonParams()
    params.model.path = asked["model"]
    params.n_ctx = asked["context"]
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)

    def ask(route: str, body: dict[str, Any]) -> Any:
        request = Request(f"{server.listening_address}/{route}", json.dumps(body).encode())
        with urlopen(request) as reply:
            return json.load(reply)

    greedy, log_probs = [], []
    for prompt in asked["prompts"]:
        body = {"prompt": prompt, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
        greedy.append(ask("completion", {**body, "n_predict": asked["new_tokens"], "return_tokens": True})["tokens"])
        # Nothing is told about a token that is a piece of a character, so one of plain text is forced; the
        # probabilities are those before that.
        forced = {**body, "n_predict": 1, "n_probs": asked["vocab_size"], "logit_bias": [[asked["plain_id"], 1000.0]]}
        (place,) = ask("completion", forced)["completion_probabilities"]
        log_probs.append({found["id"]: found["logprob"] for found in place["top_logprobs"]})
    plain = {"add_special": False, "parse_special": False}
    tokens = [ask("tokenize", {"content": text, **plain}) for text in asked["texts"]]
    chats = [ask("apply-template", {"messages": messages})["prompt"] for messages in asked.get("chats", [])]
    started = [ask("tokenize", {"content": text, "add_special": True})["tokens"] for text in chats]
    answer = {"greedy": greedy, "log_probs": log_probs, "tokens": [each["tokens"] for each in tokens]}
    print("\n" + json.dumps({**answer, "chats": chats, "started": started}), flush=True)


if __name__ == "__main__":
    main()
