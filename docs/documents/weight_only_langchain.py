"""Weight-only quantization behind LangChain: invoke, a chain, a batch, and replies that end at `stop`."""

from langchain_core.prompts import PromptTemplate

from quantmill.langchain import StoppingPipeline

# 1. The model by its name. What `quantization_config=WeightOnlyQuantConfig(weight_dtype="nf4")` said there, a manifest says here.
llm = StoppingPipeline.from_model_id(
    "acme/demo-nf4",
    task="text-generation",
    pipeline_kwargs={"max_new_tokens": 24, "do_sample": False},
)
print("whole:", repr(llm.invoke("Return a list of")))

# 2. A chain of a prompt and the model.
chain = PromptTemplate.from_template("{question}") | llm
print("chain:", repr(chain.invoke({"question": "Return a list of"})))

# 3. A batch whose replies end where the document says they should.
stopping = PromptTemplate.from_template("{question}") | llm.bind(stop=["."])
questions = [{"question": text} for text in ("Return a list of", "The function returns", "If the file is closed,")]
print("batch:", stopping.batch(questions))

# 4. The same over an OpenVINO release.
openvino = StoppingPipeline.from_model_id(
    "acme/demo-ov-int4",
    task="text-generation",
    backend="openvino",
    pipeline_kwargs={"max_new_tokens": 24, "do_sample": False},
)
print("openvino:", repr(openvino.invoke("Return a list of", stop=["."])))
