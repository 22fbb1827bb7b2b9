"""A small Whisper, trained in seconds to write down sounds that are put together here: each word is a chirp of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import wavfile
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.modeling_outputs import Seq2SeqLMOutput

from tests import encoders

RATE = 16000
SECONDS = 2
"""What the model hears at once."""
PACE = 0.4
"""Seconds from word to word."""
WORDS = ["mill", "flour", "stone", "wheel", "water", "sack", "grain", "dust", "bread", "sieve"]
SPECIAL = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)
Samples = NDArray[np.float32]


def spoken(word: str, rng: np.random.Generator) -> Samples:
    """A chirp that begins and ends where the word's place in the list says, a little off, float32 (samples,)."""
    place = WORDS.index(word)
    begins, ends = 300 + 180 * (place % 5), 300 + 180 * ((3 * place + place // 5) % 7)
    seconds = 0.22 + 0.06 * rng.random()
    time = np.arange(int(seconds * RATE)) / RATE
    hertz = (begins + (ends - begins) * time / seconds) * (1 + 0.03 * rng.standard_normal())
    chirp = np.sin(2 * np.pi * np.cumsum(hertz) / RATE) * np.sin(np.pi * time / seconds) ** 0.5
    return (chirp * (0.3 + 0.4 * rng.random())).astype(np.float32)


def utterance(text: str, seed: int) -> Samples:
    """The words of a text, four tenths of a second each, and some noise, float32 (samples,)."""
    rng = np.random.default_rng(seed)
    heard = 0.02 * rng.standard_normal(RATE * SECONDS).astype(np.float32)
    for place, word in enumerate(text.split()):
        chirp, start = spoken(word, rng), int((PACE * place + 0.03 * rng.random()) * RATE)
        heard[start : start + len(chirp)] += chirp
    return heard


def texts(count: int, seed: int) -> list[str]:
    """Two to four words each; another seed gives others."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, 4))) for _ in range(count)]


def rows(count: int, seed: int, below: str = "sounds") -> list[dict[str, Any]]:
    """What `write_sounds` writes, and what is said there."""
    return [{"audio": f"{below}/{n}.wav", "transcript": text} for n, text in enumerate(texts(count, seed))]


CALIBRATION = rows(24, 77, "read")


def write_sounds(directory: Path, rows: Sequence[dict[str, Any]], seed: int = 10_000) -> None:
    """Write the sounds that rows name below a directory, as WAV of 16 bits; another seed gives others."""
    for number, row in enumerate(rows):
        write(directory / row["audio"], row["transcript"], seed + number)


def write(path: Path, text: str, seed: int) -> None:
    """Write what a text sounds like, as WAV of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = utterance(text, seed)
    wavfile.write(path, RATE, (samples * 32767).clip(-32768, 32767).astype(np.int16))


def processor() -> WhisperProcessor:
    """Byte-level pieces learned from the words, and 32 bands of two seconds, every 20 ms."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator(texts(500, 0), trainer)
    made = json.loads(learned.to_str())["model"]
    words = WhisperTokenizer(vocab=made["vocab"], merges=list(map(tuple, made["merges"])), model_max_length=64)
    words.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    words.set_prefix_tokens(language="en", task="transcribe", predict_timestamps=False)
    extractor = WhisperFeatureExtractor(
        feature_size=32, chunk_length=SECONDS, sampling_rate=RATE, hop_length=RATE // 50
    )
    return WhisperProcessor(extractor, words)


class Taught(nn.Module):
    """A Whisper whose encoder is asked, too, which word each of its positions is of: so it learns in seconds."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.heard = model, nn.Linear(model.config.d_model, len(WORDS) + 1)

    def forward(self, places: torch.Tensor, **given: torch.Tensor) -> Seq2SeqLMOutput:
        """What the model makes of a batch, and its loss; places: int64 (rows, positions), 0 for silence."""
        made: Seq2SeqLMOutput = self.model(**given)
        said = self.heard(made.encoder_last_hidden_state).flatten(0, 1)
        made.loss = made.loss + nn.functional.cross_entropy(said, places.flatten())
        return made


def places(text: str) -> list[int]:
    """The number of the word that is heard at each position of the encoder, 40 ms each; 0 for silence."""
    words = [1 + WORDS.index(word) for word in text.split()]
    slots = [int(0.04 * position / PACE) for position in range(25 * SECONDS)]
    return [words[slot] if slot < len(words) else 0 for slot in slots]


def configured(words: WhisperTokenizer) -> WhisperForConditionalGeneration:
    """A Whisper of two layers a side, with what its tokenizer calls things."""
    ids = {name: words.convert_tokens_to_ids(name) for name in SPECIAL}
    end = ids["<|endoftext|>"]
    special = {
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
        "begin_suppress_tokens": [end],
        "suppress_tokens": [],
    }
    config = WhisperConfig(
        vocab_size=len(words),
        num_mel_bins=32,
        d_model=64,
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 128 for side in ("encoder", "decoder")},
        max_source_positions=25 * SECONDS,
        max_target_positions=64,
        **special,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **special,
        max_length=64,
        is_multilingual=True,
        lang_to_id={name: ids[name] for name in ("<|en|>", "<|de|>")},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        # As the generation configurations of OpenAI's models have it: the language is heard, and the task is to transcribe.
        forced_decoder_ids=[[1, None], [2, ids["<|transcribe|>"]]],
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        return_timestamps=False,
    )
    return model


def listener(directory: Path, steps: int = 220) -> WhisperForConditionalGeneration:
    """Writes down what it hears; saved with its processor."""
    both = processor()
    words, extractor = both.tokenizer, both.feature_extractor
    torch.manual_seed(0)
    model = configured(words)
    known = texts(800, 1)
    sounds = [utterance(text, number) for number, text in enumerate(known)]
    heard = torch.as_tensor(extractor(sounds, sampling_rate=RATE, return_tensors="pt")["input_features"])
    where, written = torch.tensor(list(map(places, known))), [words(text)["input_ids"] for text in known]

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = slice(step * 16 % (len(known) - 16), step * 16 % (len(known) - 16) + 16)
        rows = [torch.tensor(row) for row in written[chosen]]
        labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        ids = labels.masked_fill(labels == -100, words.eos_token_id)
        return {
            "places": where[chosen],
            "input_features": heard[chosen],
            "decoder_input_ids": ids[:, :-1],
            "labels": labels[:, 1:],
        }

    encoders.train(Taught(model), batch, steps, 5e-3)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    both.save_pretrained(directory)
    return model
