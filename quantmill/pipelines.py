"""The pipeline `text2text-generation`, which transformers 5 has no longer, registered in transformers when this is imported.

After `import quantmill.pipelines`, `transformers.pipeline("text2text-generation", model=NAME)` loads T5, BART and their like, and
takes a loaded `OVModelForSeq2SeqLM` of optimum-intel as well. It is registered by transformers' documented way for pipelines of
one's own, and only where transformers has none of that name.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import AutoModelForSeq2SeqLM, GenerationConfig, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

TASK = "text2text-generation"


class Text2TextPipeline(Pipeline):  # type: ignore[misc]
    """A text in, what an encoder-decoder writes for it out: `[{"generated_text": …}]` for each text.

    Arguments of `generate` may be given when it is made and with each call; `truncation=True` cuts sources off at what the
    tokenizer says the model reads.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.generation_config.max_new_tokens is not None:
            self.generation_config.max_length = None  # transformers' default of 20, of which every call would warn

    def _sanitize_parameters(
        self, truncation: bool | str | None = None, **generate: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return ({} if truncation is None else {"truncation": truncation}), generate, {}

    def preprocess(self, inputs: str, **tokenized: Any) -> Any:
        """Tokenize one text: token ids and mask, each 1 × tokens."""
        made = self.tokenizer((self.prefix or "") + inputs, return_tensors="pt", **tokenized)
        made.pop("token_type_ids", None)  # of BERT-like tokenizers; no encoder-decoder's `generate` takes them
        return made

    def _forward(self, model_inputs: Any, **generate: Any) -> dict[str, Any]:
        config = deepcopy(self.generation_config)
        others = config.update(**generate)
        rows = len(model_inputs["input_ids"])
        written = self.model.generate(**model_inputs, generation_config=config, tokenizer=self.tokenizer, **others)
        # A row may have several sequences, `num_return_sequences`.
        return {"written": written.reshape(rows, len(written) // rows, -1)}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, str]]:
        """Decode the sequences of one text."""
        [sequences] = model_outputs["written"]
        texts = self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return [{"generated_text": text} for text in texts]


if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(TASK, Text2TextPipeline, pt_model=AutoModelForSeq2SeqLM, type="text")
