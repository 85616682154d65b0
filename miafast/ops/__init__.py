"""Numeric verbs: one op is one file with its signature, contract and NumPy truth; twins stand under the same name."""
