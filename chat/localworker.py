"""The process of the local language model: llama.cpp's server on a loopback port. `localmodel.py` starts it.

It reads one line of JSON from standard input (`weights`, `threads`, `slots`, `context`, `key`), loads the weights,
writes one line with its `address` to standard output, and ends as soon as standard input does: with the server, however
that ended. The key comes this way because arguments can be read by every user of the machine.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

NICE = 5
"""Pictures and voice are due at a certain moment, words are not."""
PROMPT_CACHE_MIB = 256
"""Beginnings of prompts that are kept for conversations that no slot holds at the moment."""
BATCH_TOKENS = 256


def parameters(facts: dict[str, Any]) -> Any:
    """What llama.cpp's server is told."""
    xllamacpp: Any = importlib.import_module("xllamacpp")
    given = xllamacpp.CommonParams()
    given.model.path = facts["weights"]
    given.hostnames = ["127.0.0.1"]
    given.port = 0
    given.api_keys = [facts["key"]]
    given.n_ctx = facts["context"]
    given.n_parallel = facts["slots"]
    given.kv_unified = True
    given.n_batch = given.n_ubatch = BATCH_TOKENS
    given.cache_prompt = True
    given.cache_ram_mib = PROMPT_CACHE_MIB
    given.n_gpu_layers = 0
    given.ui = given.endpoint_slots = given.endpoint_props = False
    given.verbosity = 1
    for threads in (given.cpuparams, given.cpuparams_batch):
        threads.n_threads = facts["threads"]
        threads.poll = 0  # a thread that waits must not keep a core from the picture
    return given


def main() -> None:
    """Serve until standard input ends."""
    facts = json.loads(sys.stdin.buffer.readline())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library writes to standard output as it likes
    os.nice(NICE)
    xllamacpp: Any = importlib.import_module("xllamacpp")
    server = xllamacpp.Server(parameters(facts))
    print(json.dumps({"address": server.listening_address}), file=out, flush=True)
    sys.stdin.buffer.read()
    # The library's threads may be deep in a reply that nobody waits for.
    os._exit(0)


if __name__ == "__main__":
    main()
