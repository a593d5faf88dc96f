"""Writes on what a language model has read: sampling, what may not repeat, and where it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from errors import EngineError, TooLarge
from stepaudio.checkpoints import out_of_memory_told

END_ID = 3
"""`<|EOT|>`."""
CONTEXT_MAX = 8192
"""Ids that the published models attend to, the prompt among them."""
REPETITION_WINDOW = 10
REPETITION_SHARE = 0.1

Process = Callable[[Sequence[int], Tensor], None]
"""Takes all ids so far and the logits of the next one, float32 [vocabulary], and changes those."""


class Text(Protocol):
    """What is being read and written."""

    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits of what follows: float32 [vocabulary]."""
        ...


class Model(Protocol):
    """A language model."""

    def begin(self) -> Text:
        """A text that is yet empty."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """How the next id is drawn; by default as the publishers do for Step-Audio-Chat."""

    max_new_tokens: int = 2048
    temperature: float = 0.7
    """0: always the likeliest."""
    top_p: float = 0.9
    top_k: int = 50
    """As transformers has it where nothing is said."""


def forbid_repetition(ids: Sequence[int], logits: Tensor) -> None:
    """Forbid the newest id where it makes up more than a tenth of the last ten, as Step-Audio's TTS does."""
    if len(ids) < REPETITION_WINDOW:
        return
    window = ids[-REPETITION_WINDOW:]
    if list(window).count(window[-1]) > REPETITION_SHARE * REPETITION_WINDOW:
        logits[window[-1]] = -torch.inf


def generate(
    model: Model,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    processes: Sequence[Process] = (),
    ends: Collection[int] = (END_ID,),
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """The ids that the model writes behind a prompt, as they come, without the one that ends them.

    The prompt does not count to `max_new_tokens`, and where that is reached the last id is a real one and given too.
    Closing the iterator ends the work.

    Raises:
        TooLarge: the prompt leaves no room in CONTEXT_MAX.
        Unavailable: the GPU's memory ran out.
        EngineError: the model wrote what is no number.
    """
    if not prompt or len(prompt) >= CONTEXT_MAX:
        raise TooLarge(
            f"the conversation has {len(prompt)} tokens; from 1 to {CONTEXT_MAX - 1} are possible",
            zh=f"对话共 {len(prompt)} 个 token，应为 1 至 {CONTEXT_MAX - 1} 个",
        )
    ids, text, new = list(prompt), model.begin(), list(prompt)
    for _ in range(min(sampling.max_new_tokens, CONTEXT_MAX - len(prompt))):
        with out_of_memory_told("generation"):
            logits = text.read(new)
        for process in processes:
            process(ids, logits)
        number = draw(logits, sampling, generator)
        if number in ends:
            return
        ids.append(number)
        new = [number]
        yield number


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> int:
    """One id, by temperature, then the `top_k` likeliest, then the fewest that make up `top_p` (Holtzman et al. 2019).

    Raises:
        EngineError: the logits are no numbers, or forbid everything.
    """
    if torch.isnan(logits).any() or not torch.isfinite(logits.max()):
        raise EngineError("stepaudio", "the model's output is not a number: damaged weights, or a wrong dtype?")
    if sampling.temperature <= 0:
        return int(logits.argmax())
    best, ids = torch.topk(logits / sampling.temperature, min(sampling.top_k, len(logits)))
    shares = torch.softmax(best, 0)
    before = torch.cumsum(shares, 0) - shares
    shares[before >= sampling.top_p] = 0.0
    return int(ids[int(torch.multinomial(shares, 1, generator=generator))])
