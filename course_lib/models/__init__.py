"""Pretrained models: loaded by name, their heads, features and preprocessing."""
