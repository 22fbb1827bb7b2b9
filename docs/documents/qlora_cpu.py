"""QLoRA on a CPU: a four-bit base, low-rank adapters, the Trainer, and the adapter saved and loaded again."""

import math
from pathlib import Path

import psutil
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

# 1. Threads: one a core. bfloat16 where the CPU multiplies in it, else float32.
torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
bf16 = "amx_bf16" in flags or "avx512_bf16" in flags

# 2. The base, an nf4 release, and adapters on every projection of attention, whose first values are drawn.
set_seed(0)
name = "acme/demo-nf4"
tokenizer = AutoTokenizer.from_pretrained(name)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
base = prepare_model_for_kbit_training(AutoModelForCausalLM.from_pretrained(name), use_gradient_checkpointing=True)
lora = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM")
model = get_peft_model(base, lora)

# 3. Text of one kind.
texts = [f"The miller of village {number} grinds {number % 7} sacks of grain." for number in range(64)]
rows = Dataset.from_dict(tokenizer(texts, truncation=True, max_length=48))
held_out = Dataset.from_dict(tokenizer([text.replace("village", "town") for text in texts[:16]]))

# 4. The Trainer: gradients accumulated over two batches, activations computed again in the backward pass.
arguments = TrainingArguments(
    output_dir="trained",
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    gradient_checkpointing=True,
    max_steps=16,
    learning_rate=5e-3,
    bf16=bf16,
    use_cpu=True,
    seed=0,
    report_to=[],
    logging_steps=8,
    disable_tqdm=True,
)
trainer = Trainer(
    model,
    arguments,
    train_dataset=rows,
    eval_dataset=held_out,
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
before = trainer.evaluate()["eval_loss"]
trainer.train()
after = trainer.evaluate()["eval_loss"]
print(f"loss: {before:.3f} {after:.3f} perplexity: {math.exp(before):.1f} {math.exp(after):.1f}")

# 5. The adapter alone is saved; the release it stands on is named in it.
model.save_pretrained("adapter")
loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(name), "adapter")
inputs = tokenizer("The miller of village 3", return_tensors="pt")
tokens = loaded.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
print("text:", tokenizer.decode(tokens[0], skip_special_tokens=True))
