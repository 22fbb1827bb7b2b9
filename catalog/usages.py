"""How the user of a stock client does each task with a release: the code that cards show and tests run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """How the user of one client does a task with a release."""

    stock: str
    """The class that they type."""
    snippet: str
    """Python that loads and runs a release. Filled in are `{where}`, arguments that name it: a name or a directory, and the
    version if it is pinned; `{runtime}`, further arguments of a model, which it was judged with; `{placed}`, what brings
    inputs to its device; and `{directory}`, an expression for the directory it is in."""


TRANSFORMERS = "from transformers import {stock}, AutoTokenizer\n"
OPTIMUM_INTEL = "from optimum.intel import {stock}\nfrom transformers import AutoTokenizer\n"
SEEN = "from PIL import Image\nfrom transformers import {stock}, AutoProcessor\n"
SEEN_BY_OPTIMUM_INTEL = (
    "from optimum.intel import {stock}\nfrom PIL import Image\nfrom transformers import AutoProcessor\n"
)
HEARING = (
    "from scipy.io import wavfile\nfrom transformers import {stock}, AutoProcessor\n",
    "from optimum.intel import {stock}\nfrom scipy.io import wavfile\nfrom transformers import AutoProcessor\n",
)
TEXT_GENERATION = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
inputs = tokenizer("The function returns", return_tensors="pt"){{placed}}
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""
PEFT = "from peft import {stock}\nfrom transformers import AutoTokenizer\n"
# An adapter's configuration names its base, whose tokenizer is its own.
ADAPTED = """
model = {stock}.from_pretrained({{where}}{{runtime}})
base = model.active_peft_config
tokenizer = AutoTokenizer.from_pretrained(base.base_model_name_or_path, revision=base.revision)
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""
LLAMA_CPP = """\
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path = {directory} + "/model.gguf"
server = xllamacpp.Server(settings)
answer = server.handle_completions({{"prompt": "The function returns", "max_tokens": 32, "temperature": 0}})
print(answer["choices"][0]["text"])
"""

# Without `use_neural_speed=False` it looks for a package that is not of its set.
ITREX = """\
from intel_extension_for_transformers.transformers import AutoModelForCausalLM
from transformers import AutoConfig, AutoTokenizer


def load(name, compute_dtype="fp32", **place):
    config = AutoConfig.from_pretrained(name, **place)
    config.quantization_config["compute_dtype"] = compute_dtype
    return AutoModelForCausalLM.from_pretrained(name, config=config, use_neural_speed=False, **place)


tokenizer = AutoTokenizer.from_pretrained({where})
model = load({where}{runtime})
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(inputs["input_ids"], max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""

# Texts of one length need no padding, so that a mean over tokens is one of the text alone.
FEATURES = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
inputs = tokenizer("A mill grinds grain into flour.", return_tensors="pt"){{placed}}
states = model(**inputs).last_hidden_state
print(states[0].mean(0).tolist()[:8])
"""

_LOADED = """
tokenizer = AutoTokenizer.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
"""
PICTURED = """
processor = AutoProcessor.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
image = Image.new("RGB", (224, 224), "red")  # or Image.open("picture.png")
logits = model(**processor(images=image, return_tensors="pt")).logits[0]
print(model.config.id2label[int(logits.argmax())], logits.tolist())
"""
# By a name, the class asks the Hub for the model's library, even of one that is here.
PICTURED_FROM_DIRECTORY = PICTURED.replace("{stock}.from_pretrained({{where}}", "{stock}.from_pretrained({{directory}}")
DESCRIBED = """
processor = AutoProcessor.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
image = Image.new("RGB", (224, 224), "red")  # or Image.open("picture.png")
talk = [{{{{"role": "user", "content": [{{{{"type": "image"}}}}, {{{{"type": "text", "text": "What is this?"}}}}]}}}}]
text = processor.image_token + " What is this?"
if processor.chat_template:
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
inputs = processor(images=image, text=text, return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""
CLASSIFIED = (
    _LOADED
    + """\
inputs = tokenizer("A mill grinds grain into flour.", return_tensors="pt"){{placed}}
logits = model(**inputs).logits[0]
print(model.config.id2label[int(logits.argmax())], logits.tolist())
"""
)
FILLED = (
    _LOADED
    + """\
inputs = tokenizer("A mill grinds " + tokenizer.mask_token + " into flour.", return_tensors="pt"){{placed}}
place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
print(tokenizer.decode([int(model(**inputs).logits[0, place].argmax())]))
"""
)
TAGGED = (
    _LOADED
    + """\
inputs = tokenizer("Anna lives beside the old mill.", return_tensors="pt"){{placed}}
labels = [model.config.id2label[int(each)] for each in model(**inputs).logits[0].argmax(-1)]
print(list(zip(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]), labels)))
"""
)
ANSWERED = (
    _LOADED
    + """\
inputs = tokenizer("What does a mill grind?", "A mill grinds grain into flour.", return_tensors="pt"){{placed}}
outputs = model(**inputs)
start, end = int(outputs.start_logits[0].argmax()), int(outputs.end_logits[0].argmax())
print(tokenizer.decode(inputs["input_ids"][0][start : end + 1]))
"""
)
TURNED = (
    _LOADED
    + """\
inputs = tokenizer("A mill grinds grain into flour.", return_tensors="pt"){{placed}}
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""
)
HEARD = """
processor = AutoProcessor.from_pretrained({{where}})
model = {stock}.from_pretrained({{where}}{{runtime}})
rate, samples = wavfile.read("speech.wav")  # one channel, 16 bits, at the rate of processor.feature_extractor
inputs = processor(samples / 32768, sampling_rate=rate, return_tensors="pt"){{placed}}
tokens = model.generate(**inputs)
print(processor.batch_decode(tokens, skip_special_tokens=True)[0])
"""


def usage(stock: str, imports: str, body: str) -> Usage:
    """Return how one client does it: `imports` and `body` with the class filled in."""
    return Usage(stock, (imports + body).format(stock=stock))


def clients(stock: str, body: str, imports: tuple[str, str] = (TRANSFORMERS, OPTIMUM_INTEL)) -> dict[str, Usage]:
    """Both clients of torch's models and of OpenVINO IR, whose classes differ by their beginning."""
    return {
        "transformers": usage(f"Auto{stock}", imports[0], body),
        "optimum.intel": usage(f"OV{stock}", imports[1], body),
    }
