"""A client's model as lm-evaluation-harness asks it, for clients that the harness has no class for."""

from __future__ import annotations

from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from gates.clients.client import Loaded
from gates.errors import GateError

NEW_TOKENS = 256
"""Of an answer, where a task names no limit: the harness's own."""


class Asked(TemplateLM):  # type: ignore[misc]
    """One item at a time. Tokens are counted as the harness's class for transformers does: without a token to begin with."""

    def __init__(self, loaded: Loaded, tokenizer: Any) -> None:
        super().__init__()
        self._loaded = loaded
        self.tokenizer = tokenizer

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands for an empty context."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def tokenizer_name(self) -> str:
        """Part of what the harness keeps answers by."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids of a text."""
        return list(self.tokenizer.encode(string, add_special_tokens=bool(add_special_tokens)))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as one text."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        return [self._scored(context, continuation) for _, context, continuation in requests]

    def _scored(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        room = self._loaded.context
        ids = torch.tensor([*context, *continuation][-(room + 1 if room else 0) :])
        logprobs = self._loaded.logits(ids[:-1])[-len(continuation) :].float().log_softmax(-1)
        targets = ids[-len(continuation) :]
        total = float(logprobs.gather(-1, targets[:, None]).sum())
        return total, bool((logprobs.argmax(-1) == targets).all())

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows of the model's context."""
        return [
            sum(self._scored(*window)[0] for window in self._windows(text)) for (text,) in (r.args for r in requests)
        ]

    def _windows(self, text: str) -> list[tuple[list[int], list[int]]]:
        ids = self.tok_encode(text)
        room = self._loaded.context or len(ids)
        windows = get_rolling_token_windows(
            token_list=ids, prefix_token=self.prefix_token_id, max_seq_len=room, context_len=1
        )
        return [make_disjoint_window(window) for window in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The likeliest continuation of each prompt, up to the first of the texts that end it."""
        return [self._continued(prompt, dict(options)) for prompt, options in (request.args for request in requests)]

    def _continued(self, prompt: str, options: dict[str, Any]) -> str:
        if options.get("do_sample") and options.get("temperature"):
            raise GateError(
                "A task of lm-evaluation-harness draws its answers (`do_sample` with a temperature), and what is drawn "
                "from this format would not be the same twice. Name tasks that take the likeliest answer, or gate them "
                "on a target of the format `transformers`."
            )
        stops = options.get("until") or []
        room, new = self._loaded.context, int(options.get("max_gen_toks", NEW_TOKENS))
        ids = self.tok_encode(prompt)[-(max(room - new, 1) if room else 0) :]
        (answer,) = self._loaded.generate(torch.tensor([ids]), new)
        text = str(self.tokenizer.decode(answer, skip_special_tokens=True))
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.split(stop)[0] if stop else text
        return text
