"""`stop` ends a reply where it says, however a release is asked: whole, in batches, streamed and awaited."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publishers.destinations.local import Local
from quantmill.langchain import GenAIPipeline, StoppingPipeline, before_stop, until_stop

slow = pytest.mark.slow
load = pytest.mark.xdist_group("load")
PROMPTS = ["Return a list of", "The function returns", "If the file is closed,"]
ASKED = {"max_new_tokens": 24, "do_sample": False}


def from_name(directory: str, **options: Any) -> Any:
    return StoppingPipeline.from_model_id(directory, task="text-generation", pipeline_kwargs=ASKED, **options)


def over_pipeline(directory: str) -> StoppingPipeline:
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    return StoppingPipeline(pipeline=pipeline("text-generation", model=model, tokenizer=tokenizer, **ASKED))


# With activations and cached keys in eight bits, what stands beside a row in a batch tells on the row.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def by_optimum(directory: str) -> Any:
    return from_name(directory, backend="openvino", model_kwargs={"ov_config": dict(EXACT)})


MODELS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "compressed-tensors": ("int4", from_name),
    "an existing pipeline": ("int4", over_pipeline),
    "nf4": ("nf4", from_name),
    "optimum-intel": ("ov-int4", by_optimum),
    "OpenVINO GenAI": ("ov-int4", lambda directory: GenAIPipeline.from_model_id(directory, generation=ASKED)),
}


@pytest.fixture(scope="module")
def model(released: Path) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        target, make = MODELS[name]
        if name not in made:
            made[name] = make(str(Local("", released).find(f"acme/demo-{target}").directory))
        return made[name]

    return get


def every_way(chain: Any, prompts: list[str]) -> dict[str, list[str]]:
    """What a chain replies to the prompts, asked in each of the ways there are."""

    async def awaited(prompt: str) -> tuple[str, str]:
        return await chain.ainvoke(prompt), "".join([text async for text in chain.astream(prompt)])

    single = [asyncio.run(awaited(prompt)) for prompt in prompts]
    return {
        "invoke": [chain.invoke(prompt) for prompt in prompts],
        "batch": chain.batch(prompts),
        "stream": ["".join(chain.stream(prompt)) for prompt in prompts],
        "ainvoke": [invoked for invoked, _ in single],
        "abatch": asyncio.run(chain.abatch(prompts)),
        "astream": [streamed for _, streamed in single],
    }


@slow
@load
@pytest.mark.parametrize("name", MODELS)
def test_a_stop_ends_the_reply_in_every_way_of_asking(model: Callable[[str], Any], name: str) -> None:
    llm = model(name)
    # In a batch the plugin may round other products: each way is held against itself.
    whole = every_way(llm, PROMPTS)
    first, second, _ = whole["invoke"]
    assert len(first) > 12 and len(second) > 12
    inside_tokens, of_several_tokens = first[5:7], second[4:12]
    for stop in ([inside_tokens, of_several_tokens], first[:1], ["never said, as far as I know"]):
        stops = [stop] if isinstance(stop, str) else stop
        for way, replies in every_way(llm.bind(stop=stop), PROMPTS).items():
            assert replies == [before_stop(reply, stops) for reply in whole[way]], way


@slow
@load
@pytest.mark.parametrize("name", MODELS)
def test_a_stop_is_sought_in_the_reply_alone(model: Callable[[str], Any], name: str) -> None:
    llm = model(name)
    whole = llm.invoke(PROMPTS[0])
    across = PROMPTS[0][-4:] + whole[:2]
    assert across not in whole
    for way, replies in every_way(llm.bind(stop=[across]), PROMPTS[:1]).items():
        assert replies == [whole], way


@slow
@load
@pytest.mark.parametrize("name", ["compressed-tensors", "optimum-intel"])
def test_no_token_is_made_after_the_stop(
    model: Callable[[str], Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = model(name)
    reply, kind, steps = llm.invoke(PROMPTS[1]), type(llm.pipeline.model), []
    forward = kind.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        return forward(*args, **kwargs)

    # transformers reads the names of its arguments.
    monkeypatch.setattr(kind, "forward", functools.wraps(forward)(counted))
    assert llm.invoke(PROMPTS[1], stop=[reply[:6]]) == ""
    assert len(steps) <= 6


@slow
@load
def test_the_prompt_is_put_before_the_reply_when_asked(model: Callable[[str], Any]) -> None:
    llm = model("nf4")
    chain = llm.bind(stop=["."], skip_prompt=False)
    for way, replies in every_way(chain, PROMPTS[:1]).items():
        assert replies == [PROMPTS[0] + llm.invoke(PROMPTS[0], stop=["."])], way


@slow
@load
def test_what_fails_while_streaming_is_raised(model: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        list(model("nf4").stream(PROMPTS[0], pipeline_kwargs={"no_such_option": 1}))
    with pytest.raises(RuntimeError, match="many"):
        list(model("OpenVINO GenAI").stream(PROMPTS[0], max_new_tokens="many"))


@slow
@load
def test_langchain_huggingface_still_drops_stop(model: Callable[[str], Any]) -> None:
    """The day this fails, `StoppingPipeline` has one reason less."""
    from langchain_huggingface import HuggingFacePipeline

    stock = HuggingFacePipeline(pipeline=model("nf4").pipeline)
    assert "." in stock.invoke(PROMPTS[0], stop=["."])


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match="empty string"):
        StoppingPipeline.model_construct()._generate(["prompt"], stop=["\n", ""])


@given(st.lists(st.text("ab\n", max_size=4), max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3))
def test_a_stream_is_cut_as_the_whole_text_is(pieces: list[str], stops: list[str]) -> None:
    assert "".join(until_stop(pieces, stops)) == before_stop("".join(pieces), stops)


def test_the_stop_that_is_complete_first_ends_the_text() -> None:
    assert before_stop("one two three", ["two three", "wo", "e"]) == "on"
    assert before_stop("one two three", ["two three", "wo"]) == "one t"
    assert before_stop("one", []) == "one"
