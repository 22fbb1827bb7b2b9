"""A causal model with optimum-intel and OpenVINO: how it was quantized, properties, device, generation, saving, sharing."""

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from optimum.intel import OVModelForCausalLM
from transformers import AutoTokenizer, TextStreamer

# 1. Bits, group size and ratio are those of the release, in the words of `OVWeightQuantizationConfig`.
name = "acme/demo-ov-int4"
recipe = json.loads((Path(snapshot_download(name)) / "openvino_config.json").read_text())["quantization_config"]
print("recipe:", {key: recipe[key] for key in ("bits", "group_size", "sym", "ratio")})

# 2. Properties and device, before anything is compiled.
ov_config = {"KV_CACHE_PRECISION": "u8", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32", "PERFORMANCE_HINT": "LATENCY"}
model = OVModelForCausalLM.from_pretrained(name, device="CPU", ov_config=ov_config, compile=False)
model.compile()
tokenizer = AutoTokenizer.from_pretrained(name)

# 3. Text, as it is made.
inputs = tokenizer("Return a list of", return_tensors="pt")
streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False, streamer=streamer)

# 4. Saved, and loaded from where it was saved. To share it, publish it: `publish: {to: hub, namespace: NAME}` in the manifest.
model.save_pretrained("saved")
tokenizer.save_pretrained("saved")
again = OVModelForCausalLM.from_pretrained("saved", ov_config=ov_config)
print("saved:", tokens.equal(again.generate(**inputs, max_new_tokens=24, do_sample=False)))
