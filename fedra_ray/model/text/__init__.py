"""Stacks of blocks made of language models from transformers."""
