"""LangChain models over releases that end a reply where `stop` says, whole, in batches, streamed and awaited.

langchain-huggingface 1.2 hands `stop` to `HuggingFacePipeline._generate`, which never reads it. Its `_stream` looks each stop
up as one token of the vocabulary: a stop of two tokens, or one that a longer token covers, is missed, and one that is
met is yielded. Here a stop is text. It is sought in the reply alone, not across the end of the prompt, and is not part of
the reply; of several, the one that is complete first ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Self

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_huggingface import HuggingFacePipeline
from pydantic import Field, PrivateAttr


class StoppingPipeline(HuggingFacePipeline):
    """`HuggingFacePipeline` that heeds `stop`: over transformers, and over optimum-intel with `backend="openvino"`.

    It takes what that class takes, an existing pipeline too, and returns the reply without the prompt however
    it is asked; `bind(skip_prompt=False)` puts the prompt before it. `task` is `text-generation` or `text2text-generation`.
    """

    @classmethod
    def from_model_id(cls, model_id: str, task: str, **options: Any) -> Self:  # type: ignore[override]
        """Load a release by name or directory; `options` are those of `HuggingFacePipeline.from_model_id`."""
        if task == "text2text-generation":
            from quantmill import pipelines  # noqa: F401 - registers the task

        return super().from_model_id(model_id, task, **options)  # type: ignore[return-value]

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        from transformers import StoppingCriteriaList

        stops, skip_prompt = _stops(stop), kwargs.get("skip_prompt", True)
        tokenizer = self.pipeline.tokenizer
        # A criterion serves one call of `generate`, so that each call of the pipeline must make one alone.
        size = self.batch_size if tokenizer.pad_token is not None else 1
        replies: list[str] = []
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            asked = {**kwargs.get("pipeline_kwargs", {}), "batch_size": len(batch)}
            if self.pipeline.task == "text-generation":
                asked["return_full_text"] = False
            if stops:
                asked["stopping_criteria"] = StoppingCriteriaList([_reply_holds(stops, tokenizer)])
            result = super()._generate(batch, pipeline_kwargs=asked)
            replies += [before_stop(reply.text, stops) for [reply] in result.generations]
        if not skip_prompt:
            replies = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
        return LLMResult(generations=[[Generation(text=reply)] for reply in replies])

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

        def generate(emit: Callable[[str], None], left: Event) -> None:
            class Emit(TextStreamer):  # type: ignore[misc]
                def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                    emit(text)

            class Left(StoppingCriteria):  # type: ignore[misc]
                def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                    return torch.full(input_ids.shape[:1], left.is_set(), device=input_ids.device)

            streamer = Emit(self.pipeline.tokenizer, skip_prompt=True, skip_special_tokens=True)
            asked = {**kwargs.get("pipeline_kwargs", {}), "stopping_criteria": StoppingCriteriaList([Left()])}
            self.pipeline(prompt, streamer=streamer, **asked)

        if not kwargs.get("skip_prompt", True):
            yield _chunk(prompt, run_manager)
        for text in until_stop(_pieces(generate), _stops(stop)):
            yield _chunk(text, run_manager)


class GenAIPipeline(BaseLLM):
    """A release in format openvino, run by OpenVINO GenAI, whose own `stop_strings` ends the work early."""

    pipeline: Any
    """An `openvino_genai.LLMPipeline`."""
    generation: dict[str, Any] = Field(default_factory=dict)
    """Fields of `openvino_genai.GenerationConfig`. Prompts are plain text unless `apply_chat_template` is true here."""
    model_id: str | None = None

    _turn: Any = PrivateAttr(default_factory=Lock)
    """The pipeline keeps the state of one call."""

    @classmethod
    def from_model_id(
        cls,
        model_id: str,
        *,
        revision: str | None = None,
        device: str = "CPU",
        generation: dict[str, Any] | None = None,
        **properties: Any,
    ) -> Self:
        """Load a release by name or directory; `properties` are those of the device, and a `scheduler_config`."""
        from huggingface_hub import snapshot_download
        from openvino_genai import LLMPipeline

        directory = model_id if Path(model_id).is_dir() else snapshot_download(model_id, revision=revision)
        return cls(
            pipeline=LLMPipeline(directory, device, **properties), generation=generation or {}, model_id=model_id
        )

    @property
    def _llm_type(self) -> str:
        return "openvino_genai"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_id": self.model_id, "generation": self.generation}

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        asked, stops = self._asked(stop, kwargs)
        with self._turn:
            texts = self.pipeline.generate(prompts, **asked).texts
        return LLMResult(generations=[[Generation(text=before_stop(text, stops))] for text in texts])

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        from openvino_genai import StreamingStatus

        asked, stops = self._asked(stop, kwargs)

        def generate(emit: Callable[[str], None], left: Event) -> None:
            def streamer(text: str) -> StreamingStatus:
                emit(text)
                return StreamingStatus.STOP if left.is_set() else StreamingStatus.RUNNING

            with self._turn:
                self.pipeline.generate(prompt, streamer=streamer, **asked)

        for text in until_stop(_pieces(generate), stops):
            yield _chunk(text, run_manager)

    def _asked(self, stop: list[str] | None, kwargs: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        asked = {"apply_chat_template": False, **self.generation, **kwargs}
        stops = (*_stops(stop), *asked.pop("stop_strings", ()))
        if stops:
            # Without the stop in its output it drops the whole token that the stop begins in.
            asked |= {"stop_strings": set(stops), "include_stop_str_in_output": True}
        return asked, stops


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the stop that is complete first; all of it if it holds none."""
    complete = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(complete)[1]] if complete else text


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Yield the text of `pieces` as `before_stop` would return it, holding back what may be the beginning of a stop."""
    held = ""
    for piece in pieces:
        held += piece
        if any(stop in held for stop in stops):
            held = before_stop(held, stops)
            break
        begun = (length for stop in stops for length in range(1, len(stop)) if held.endswith(stop[:length]))
        ready = len(held) - max(begun, default=0)
        if ready:
            yield held[:ready]
            held = held[ready:]
    yield held  # even if it is empty: LangChain takes a stream without any chunk for a failure


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if "" in stops:
        raise ValueError("stop holds an empty string, which would end every reply before it begins; leave it out")
    return stops


def _chunk(text: str, run_manager: CallbackManagerForLLMRun | None) -> GenerationChunk:
    chunk = GenerationChunk(text=text)
    if run_manager:
        run_manager.on_llm_new_token(text, chunk=chunk)
    return chunk


def _reply_holds(stops: Sequence[str], tokenizer: Any) -> Any:
    """A criterion of transformers that ends each row whose reply holds a stop.

    It reads text, as transformers' own `StopStringCriteria` does not: that one takes the end of the prompt for a part of the
    reply, and matches no stop whose characters are split between tokens.
    """
    import torch
    from transformers import StoppingCriteria

    class ReplyHolds(StoppingCriteria):  # type: ignore[misc]
        prompt: int | None = None

        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            if self.prompt is None:
                self.prompt = input_ids.shape[1] - 1
            replies = tokenizer.batch_decode(input_ids[:, self.prompt :], skip_special_tokens=True)
            return torch.tensor([any(stop in reply for stop in stops) for reply in replies], device=input_ids.device)

    return ReplyHolds()


def _pieces(generate: Callable[[Callable[[str], None], Event], None]) -> Iterator[str]:
    """Yield what `generate` emits in a thread of its own, and raise what it raises; `left` tells it that nobody reads on."""
    emitted: SimpleQueue[str | BaseException | None] = SimpleQueue()
    left = Event()

    def run() -> None:
        try:
            generate(emitted.put, left)
        except BaseException as error:
            emitted.put(error)
        else:
            emitted.put(None)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while (piece := emitted.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        left.set()
        thread.join()
