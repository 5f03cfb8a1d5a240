"""Renderers and recipes of the bundled weights: formula-driven pre-training."""
