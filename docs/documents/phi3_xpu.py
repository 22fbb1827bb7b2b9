"""A causal model in four bits, groups of 64, on an Intel GPU where there is one."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

# 1. The device.
device = "xpu" if torch.xpu.is_available() else "cpu"
print("device:", device if device == "xpu" else f"cpu, for torch {torch.__version__} finds no xpu")

# 2. The release, packed in four bits as it is stored.
name = "acme/demo-nf4"
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, device_map=device)
config = model.config.quantization_config
print("quantized:", config.quant_method, config.bnb_4bit_quant_type, f"{model.get_memory_footprint() / 1e6:.1f} MB")

# 3. A conversation through the model's chat template; this one has none, so that one is given.
if tokenizer.chat_template is None:
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
asked = [{"role": "user", "content": "Return a list of"}]
inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)

# 4. Text, as it is made.
streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
model.generate(**inputs.to(model.device), max_new_tokens=24, do_sample=False, streamer=streamer)
