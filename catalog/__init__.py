"""The nouns that all packages share: tables and errors, no work. Imports none of the others, and nothing heavy."""
