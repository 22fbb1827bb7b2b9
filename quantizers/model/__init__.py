"""The original on disk and in outline: tensors, modules, and which linears a recipe quantizes."""
